(() => {
  "use strict";
  const read = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const clear = "rgba(0,0,0,0)";

  // Text on a sector: dark on a light one and light on a dark one, whatever the page's theme is.
  function findInk(color) {
    const [red, green, blue] = [1, 3, 5].map((at) => (parseInt(color.slice(at, at + 2), 16) / 255) ** 2.2);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.2 ? "#16181b" : "#ffffff";
  }

  function style(node, trace) {
    const ink = read("--ink"), paper = read("--paper");
    const layout = {
      paper_bgcolor: clear, plot_bgcolor: clear, dragmode: false, template: {},
      font: { family: getComputedStyle(document.body).fontFamily, color: ink, size: 12 },
      hoverlabel: { bgcolor: read("--raised"), bordercolor: read("--hairline"), font: { color: ink, size: 13 } },
      margin: { l: 4, r: 4, t: 4, b: 4 },
    };
    if (node.dataset.kind === "sunburst") {
      layout.height = Math.min(node.clientWidth, 680);
      layout.uniformtext = { minsize: 9, mode: "hide" };
      trace.leaf = { opacity: 1 };
      trace.marker.line = { color: paper, width: 0.8 };
      trace.marker.colors[0] = paper;
      trace.textfont = { color: trace.marker.colors.map((color, index) => (index ? findInk(color) : ink)) };
    } else {
      const size = Number(node.dataset.size), cell = size > 45 ? 12 : 25;
      layout.height = Math.max(360, cell * size + 170);
      node.style.minWidth = `${Math.max(300, (cell - 3) * size + 160)}px`;
      layout.width = Math.min(Math.max(node.clientWidth, 300), cell * size + 260);
      // Names such as 2012 are no numbers.
      const axis = { type: "category", automargin: true, showgrid: false, zeroline: false, fixedrange: true, ticks: "" };
      if (size <= 45) axis.dtick = 1;
      layout.xaxis = { ...axis, title: { text: `Predicted ${node.dataset.column || "label"}`, standoff: 12 }, tickangle: -90 };
      layout.yaxis = { ...axis, title: { text: node.dataset.column || "Label", standoff: 12 }, autorange: "reversed" };
      trace.colorscale = [[0, read("--cell")], [1, read("--accent")]];
    }
    return layout;
  }

  function draw(node) {
    if (!node.clientWidth) return;
    const trace = JSON.parse(document.querySelector(`script[data-for="${node.id}"]`).textContent);
    const layout = style(node, trace);
    Plotly.react(node, [trace], layout, { displayModeBar: false, responsive: node.dataset.kind === "sunburst" });
  }

  const figures = [...document.querySelectorAll(".interactive")];
  const drawAll = () => figures.forEach(draw);

  function choose(group, index) {
    for (const panel of document.querySelectorAll(".panel")) {
      if (panel.dataset.group !== group) continue;
      panel.hidden = panel.dataset.index !== index;
      if (!panel.hidden) panel.querySelectorAll(".interactive").forEach(draw);
    }
    for (const picker of document.querySelectorAll(".picker")) {
      if (picker.dataset.group !== group) continue;
      for (const input of picker.querySelectorAll("input")) input.checked = input.value === index;
      for (const select of picker.querySelectorAll("select")) select.value = index;
    }
  }

  document.addEventListener("change", (event) => {
    const picker = event.target.closest(".picker");
    if (!picker) return;
    // Panels of other heights must not move the picker away from under the reader's hand.
    const top = picker.getBoundingClientRect().top;
    choose(picker.dataset.group, event.target.value);
    scrollBy({ top: picker.getBoundingClientRect().top - top, behavior: "instant" });
  });

  document.addEventListener("click", (event) => {
    const zoom = event.target.closest(".zoom");
    if (!zoom) return;
    const isLarge = zoom.previousElementSibling.classList.toggle("large");
    zoom.setAttribute("aria-pressed", String(isLarge));
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".enlarge");
    if (!button) return;
    const whole = button.closest("figure").classList.toggle("whole");
    button.setAttribute("aria-pressed", String(whole));
  });

  // A bar shows the products of its category or brand only, and leads there.
  function showProducts(link) {
    const list = document.querySelector(".filtered"), title = document.getElementById("health-products");
    for (const each of document.querySelectorAll(".clickable a")) {
      each.toggleAttribute("aria-current", each === link);
      if (each === link) each.setAttribute("aria-current", "true");
    }
    let count = 0;
    for (const item of list.children) {
      item.hidden = Boolean(link) && item.dataset[link.dataset.by] !== link.dataset.value;
      count += !item.hidden;
    }
    document.querySelector(".everything").hidden = !link;
    title.textContent = title.dataset.all;
    if (!link) return;
    const wrong = Number(link.dataset.wrong), name = link.querySelector(".label").textContent;
    const rest = wrong > count ? ` The surest ${count} are here, all are in audit/issues.csv.` : "";
    title.textContent = `${name}: ${wrong.toLocaleString("en")} of its products ${wrong === 1 ? "looks" : "look"} wrong.${rest}`;
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest(".clickable a");
    if (link) showProducts(link);
    if (event.target.closest(".everything")) {
      showProducts(null);
      document.getElementById("health-products").focus();
    }
  });

  // A browser may bring back the choices of an earlier visit.
  for (const picker of document.querySelectorAll(".picker")) {
    const chosen = picker.querySelector("select, input:checked");
    if (chosen) choose(picker.dataset.group, chosen.value);
  }
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("resize", () => { clearTimeout(drawAll.later); drawAll.later = setTimeout(drawAll, 150); });

  const links = new Map([...document.querySelectorAll(".toc a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id).setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-15% 0px -80% 0px" });
  for (const id of links.keys()) seen.observe(document.getElementById(id));
})();
