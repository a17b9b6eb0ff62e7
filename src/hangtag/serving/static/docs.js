"use strict";

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text ?? "";
  if (className) made.className = className;
  return made;
}

// A box that scrolls sideways, also by keyboard.
function makeBox(text, name) {
  const box = element("pre", text);
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", name);
  return box;
}

function describeRoute(path, method, route) {
  const section = element("section", "", "route");
  section.append(element("h2", `${method.toUpperCase()} ${path}`));
  section.append(element("p", route.description ?? route.summary));
  const body = route.requestBody?.content;
  if (body) {
    const address = new URL(`.${path}`, location.href);
    section.append(element("p", `Accepts ${Object.keys(body).join(", ")}.`));
    const one = `curl --data-binary @photo.jpg -H "Content-Type: image/jpeg" ${address}`;
    const example = `${one}\ncurl -F file=@one.jpg -F file=@two.jpg ${address}`;
    section.append(makeBox(example, `Example of ${method.toUpperCase()} ${path}`));
  }
  const list = element("dl");
  for (const [status, response] of Object.entries(route.responses)) {
    const told = element("dd", response.description);
    list.append(element("dt", status), told);
    const schema = response.content?.["application/json"]?.schema;
    if (status === "200" && schema?.properties) {
      told.append(makeBox(JSON.stringify(schema, null, 2), `Answer of ${method.toUpperCase()} ${path}`));
    }
  }
  section.append(list);
  return section;
}

async function show() {
  const described = await (await fetch("openapi.json")).json();
  for (const [path, methods] of Object.entries(described.paths)) {
    for (const [method, route] of Object.entries(methods)) {
      document.getElementById("routes").append(describeRoute(path, method, route));
    }
  }
}

show();
