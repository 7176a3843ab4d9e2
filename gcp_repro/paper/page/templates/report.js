"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse)");
  const drawn = new Set();

  const remembered = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("theme", theme); } catch { /* a page from a file may not store */ } };

  function colours() {
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = (name) => ({ [`${name}.gridcolor`]: colour("--line"), [`${name}.linecolor`]: colour("--soft"), [`${name}.tickcolor`]: colour("--soft") });
    return {
      "font.color": colour("--ink"), "hoverlabel.bgcolor": colour("--paper"), "hoverlabel.font.color": colour("--ink"),
      "modebar.color": colour("--soft"), "modebar.bgcolor": "rgba(0,0,0,0)", ...axis("xaxis"), ...axis("yaxis"),
    };
  }

  function draw(canvas) {
    const { data, layout } = JSON.parse(document.getElementById(canvas.dataset.source).textContent);
    if (touch.matches) layout.dragmode = false;  // a finger scrolls the page; the buttons of a figure zoom
    layout.font = { ...layout.font, family: getComputedStyle(document.body).fontFamily };
    const options = { displayModeBar: touch.matches ? true : "hover", displaylogo: false, showSendToCloud: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
    drawn.add(canvas);
    Plotly.newPlot(canvas, data, layout, options).then(() => {
      canvas.on("plotly_afterplot", () => letScale(canvas));
      letScale(canvas);
      Plotly.relayout(canvas, colours());
      new ResizeObserver(() => Plotly.Plots.resize(canvas)).observe(canvas);
    });
  }

  // Print scales a figure by its viewBox: paper has another width than the screen, and nothing is drawn again for it.
  function letScale(canvas) {
    const { width, height } = canvas._fullLayout;
    canvas.style.setProperty("--ratio", `${width} / ${height}`);
    canvas.querySelectorAll("svg.main-svg").forEach((svg) => svg.setAttribute("viewBox", `0 0 ${width} ${height}`));
  }

  function setTheme(theme) {
    root.dataset.theme = theme;
    button.textContent = theme === "dark" ? "light" : "dark";
    button.setAttribute("aria-label", `switch to ${button.textContent} view`);
    drawn.forEach((canvas) => Plotly.relayout(canvas, colours()));
  }

  function number(text) {
    const value = text === undefined ? NaN : Number(text.replace("inf", "Infinity"));
    return Number.isNaN(value) ? null : value;
  }

  function sortBy(header) {
    const table = header.closest("table");
    const index = header.cellIndex;
    const descending = header.getAttribute("aria-sort") === "ascending";
    const sign = descending ? -1 : 1;
    const key = (row) => {
      const cell = row.cells[index];
      return { number: number(cell.dataset.value), text: cell.textContent.trim() };
    };
    const compare = (a, b) => {
      if (a.number !== null && b.number !== null) return sign * (a.number === b.number ? 0 : a.number - b.number);
      if (a.number !== null || b.number !== null) return a.number === null ? 1 : -1;
      if (!a.text || !b.text) return a.text ? -1 : b.text ? 1 : 0;
      return sign * a.text.localeCompare(b.text, undefined, { numeric: true });
    };
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: key(row) }));
    rows.sort((a, b) => compare(a.key, b.key));
    table.tBodies[0].append(...rows.map(({ row }) => row));
    header.parentElement.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  }

  function markGroupEdges(table) {
    const groups = table.querySelector("tr.groups");
    if (!groups) return;
    let column = 0;
    const edges = [...groups.cells].map((cell) => (column += cell.colSpan)).slice(0, -1);
    [...table.rows].filter((row) => row !== groups).forEach((row) => edges.forEach((edge) => row.cells[edge].classList.add("edge")));
  }

  function hintAtColumns(scroll) {
    const hint = scroll.previousElementSibling;
    const update = () => {
      const more = scroll.scrollWidth - scroll.clientWidth - scroll.scrollLeft > 4;
      scroll.classList.toggle("more", more);
      hint.hidden = !more;
    };
    scroll.addEventListener("scroll", update, { passive: true });
    new ResizeObserver(update).observe(scroll);
  }

  setTheme(remembered() ?? (system.matches ? "dark" : "light"));
  system.addEventListener("change", (event) => { if (!remembered()) setTheme(event.matches ? "dark" : "light"); });
  button.addEventListener("click", () => { const theme = root.dataset.theme === "dark" ? "light" : "dark"; remember(theme); setTheme(theme); });
  document.querySelectorAll("table").forEach(markGroupEdges);
  document.querySelectorAll(".scroll").forEach(hintAtColumns);
  document.querySelectorAll("tr:not(.groups) > th > button").forEach((b) => b.addEventListener("click", () => sortBy(b.parentElement)));

  async function unpackPlotly() {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (letter) => letter.charCodeAt(0));
    const script = document.createElement("script");
    script.textContent = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    document.head.append(script);
  }

  // Figures in view are drawn first and the others one by one while the page is idle, so that long screenshots have them too.
  const waiting = new Set(document.querySelectorAll(".canvas"));
  const drawOnce = (canvas) => { if (waiting.delete(canvas)) draw(canvas); };
  const whenIdle = window.requestIdleCallback ?? ((next) => setTimeout(next, 1));
  const drawRest = () => {
    const [canvas] = waiting;
    if (!canvas) return;
    drawOnce(canvas);
    whenIdle(drawRest, { timeout: 200 });
  };
  const watcher = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => drawOnce(entry.target)), { rootMargin: "600px" });
  let drawable = false;
  unpackPlotly().then(() => {
    drawable = true;
    waiting.forEach((canvas) => watcher.observe(canvas));
    whenIdle(drawRest, { timeout: 200 });
  }, () => waiting.forEach((canvas) => { canvas.textContent = "Figures need a browser of 2023 or newer."; }));

  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("#findings details").forEach((part) => { part.open = true; });
    if (drawable) [...waiting].forEach(drawOnce);
    setTheme("light");
  });
  window.addEventListener("afterprint", () => setTheme(remembered() ?? (system.matches ? "dark" : "light")));
})();
