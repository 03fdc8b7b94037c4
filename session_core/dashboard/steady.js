// Streamlit 1.67 makes a chart anew when its figures change, and for a frame or two its place is blank.
// What was there stays in sight until the new one is drawn.
(() => {
  "use strict";
  window.steadyCharts ??= begin();

  function begin() {
    const SETTLED_MS = 250;
    const GIVE_UP_MS = 2_000;
    const FITTING_FRAMES = 3;
    const PLOT = ".js-plotly-plot";
    const PICTURE = `${PLOT} .svg-container`;
    const CHART = ".stElementContainer[class*='st-key-chart_']";
    const OVER = { position: "absolute", inset: "0", pointerEvents: "none" };
    const pictures = new Map();
    let timer = setTimeout(remember, SETTLED_MS);

    const keyOf = (chart) => [...chart.classList].find((name) => name.startsWith("st-key-chart_"));
    const charts = (nodes) => [...nodes].filter((node) => node.nodeType === Node.ELEMENT_NODE && node.matches(CHART));

    const observer = new MutationObserver((records) => {
      const made = records.flatMap(({ addedNodes }) => charts(addedNodes));
      if (made.length) {
        // It is taken away at once, or stays for a while without being shown.
        const gone = [
          ...records.flatMap(({ removedNodes }) => charts(removedNodes)),
          ...document.querySelectorAll(`${CHART}[data-retained]`),
        ].map(keyOf);
        for (const chart of made) if (gone.includes(keyOf(chart))) cover(chart, pictures.get(keyOf(chart)));
      }
      if (records.some(({ target }) => target.closest?.(PLOT))) {
        clearTimeout(timer);
        timer = setTimeout(remember, SETTLED_MS);
      }
    });
    observer.observe(document.body, { childList: true, subtree: true });
    return observer;

    // Once a chart is taken away there is nothing in it any more.
    function remember() {
      for (const chart of document.querySelectorAll(`${CHART}:not([data-retained])`)) {
        const picture = chart.querySelector(PICTURE);
        if (picture) pictures.set(keyOf(chart), picture.cloneNode(true));
      }
    }

    function cover(chart, picture) {
      if (!picture) return;
      const copy = apart(picture.cloneNode(true));
      for (const layer of [copy, ...copy.children]) Object.assign(layer.style, OVER);
      copy.setAttribute("aria-hidden", "true");
      chart.append(copy);
      const end = performance.now() + GIVE_UP_MS;
      let fitting = 0;
      const look = () => {
        // It is drawn once before its width is known.
        const width = chart.querySelector(`${PICTURE} .main-svg`)?.getBoundingClientRect().width;
        fitting = width && Math.abs(width - chart.clientWidth) <= 1 ? fitting + 1 : 0;
        if (fitting < FITTING_FRAMES && performance.now() < end) requestAnimationFrame(look);
        else copy.remove();
      };
      requestAnimationFrame(look);
    }

    // Else what it is clipped by would be looked for in a chart that is not shown.
    function apart(copy) {
      for (const part of copy.querySelectorAll("[id]")) part.id += "-before";
      for (const clipped of copy.querySelectorAll("[clip-path]"))
        clipped.setAttribute("clip-path", clipped.getAttribute("clip-path").replace(/['"]?\)$/, "-before$&"));
      return copy;
    }
  }
})();
