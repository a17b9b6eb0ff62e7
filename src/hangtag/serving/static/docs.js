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
  if (body) section.append(element("p", `Takes ${Object.keys(body).join(", ")}.`));
  if (body) {
    const curl = `curl --data-binary @photo.jpg -H "Content-Type: image/jpeg" ${new URL(`.${path}`, location.href)}`;
    section.append(element("pre", `${curl}\ncurl -F file=@one.jpg -F file=@two.jpg ${new URL(`.${path}`, location.href)}`));
  }
  const list = element("dl");
  for (const [status, answer] of Object.entries(route.responses)) {
    list.append(element("dt", status), element("dd", answer.description));
    const schema = answer.content?.["application/json"]?.schema;
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
