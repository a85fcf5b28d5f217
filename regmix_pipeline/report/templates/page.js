// Draws every plot when it comes near the screen, and all of them, at the paper's width, before printing.
const figures = JSON.parse(document.getElementById("figures").textContent);
const config = { displayModeBar: false, responsive: true, showTips: false };
const places = [...document.querySelectorAll(".plot")].filter((place) => figures[place.id]);

function draw(place) {
  if (place.dataset.drawn) return;
  place.dataset.drawn = "yes";
  const figure = figures[place.id];
  Plotly.newPlot(place, figure.data, figure.layout, config);
}

const near = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
  { rootMargin: "600px" },
);
places.forEach((place) => near.observe(place));

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.print:not([open])")];
  opened.forEach((part) => (part.open = true));
  document.body.classList.add("printing");
  places.forEach((place) => {
    draw(place);
    Plotly.relayout(place, { width: place.clientWidth });
  });
});
addEventListener("afterprint", () => {
  document.body.classList.remove("printing");
  opened.forEach((part) => (part.open = false));
  places.forEach((place) => Plotly.relayout(place, { width: null, autosize: true }));
});
