"use strict";

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text ?? "";
  if (className) made.className = className;
  return made;
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
    section.append(element("pre", `${one}\ncurl -F file=@one.jpg -F file=@two.jpg ${address}`));
  }
  const list = element("dl");
  for (const [status, response] of Object.entries(route.responses)) {
    list.append(element("dt", status), element("dd", response.description));
    const schema = response.content?.["application/json"]?.schema;
    if (status === "200" && schema?.properties) list.append(element("pre", JSON.stringify(schema, null, 2)));
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
