"""What XProf's pages do not say themselves: that they show nothing, or zeros, because something is missing.

XProf (2.24) draws with Google Charts from www.gstatic.com. The service lets nothing in from another machine, and many clusters reach none:
tables and charts then stay empty without a word. Where a profile has no step markers, as from XLA:CPU, the overview shows "0.0 ms" for
every part of a step. The notice says both, and takes the zeros away, for they were not measured. It goes into XProf's own page, because
people come there by its menus too; whatever of the page it does not know, it leaves alone.
"""

from __future__ import annotations

_BEFORE = b"<app></app>"
_TEXTS = """
  <p data-for="charts"><strong>Tables and charts are missing here.</strong> XProf draws them with Google Charts from www.gstatic.com, which
  is not loaded on this page. The trace viewer and the op profile do without.</p>
  <p data-for="steps"><strong>No step times.</strong> XProf found no step markers in this profile. It would show 0.0 ms for every part of a
  step; that was not measured, so it is left out.</p>
  <p><span data-for="study">The trials of <a target="_top"></a> have the step's time by category, from the same profiles.</span>
  <span data-for="command"><code>tuner profile show</code> has the step's time by category, from the same profiles.</span></p>
"""
_SCRIPT = """
(() => {
  const notice = document.getElementById("tuner-notice");
  const part = (name) => notice.querySelector(`[data-for=${name}]`);
  const without = "trace-viewer, op-profile, graph-viewer";  // tools that need no Google Charts
  const begun = performance.now();
  function study() {
    const run = new URLSearchParams(location.search).get("run") ?? "";
    return location.pathname.startsWith("/tensorboard/") && run.includes("/") ? decodeURIComponent(run.split("/")[0]) : "";
  }
  function look() {
    const summary = document.querySelector("performance-summary");
    const times = [...(summary?.textContent ?? "").matchAll(/([0-9.]+) *ms/g)].map((found) => Number(found[1]));
    const empty = times.length > 0 && times.every((time) => time === 0);
    if (summary) summary.style.display = empty ? "none" : "";
    const shown = document.querySelector("router-outlet")?.nextElementSibling;
    const late = performance.now() - begun > 4000;
    const missing = late && shown && !shown.matches(without) && typeof window.google?.visualization?.DataTable !== "function";
    const name = study();
    part("charts").hidden = !missing;
    part("steps").hidden = !empty;
    part("study").hidden = !name;
    part("command").hidden = Boolean(name);
    const link = notice.querySelector("a");
    link.textContent = name;
    link.href = `/studies/${encodeURIComponent(name)}#trials`;
    notice.hidden = !(missing || empty);
  }
  new MutationObserver(look).observe(document.querySelector("app"), { childList: true, subtree: true });
  setInterval(look, 1000);
})();
"""
_STYLE = (  # at the bottom, because XProf's own parts are placed by their distance from the top
    "position: fixed; z-index: 9999; inset: auto 0 0 0; max-height: 45vh; overflow: auto; padding: .25rem 1.25rem; "
    "border-top: 4px solid #8a6d00; background: #fff6e0; color: #18212f; font: 15px/1.5 system-ui, sans-serif"
)
_NOTICE = f'<div id="tuner-notice" role="status" hidden style="{_STYLE}">{_TEXTS}</div>'.encode()


def with_notice(page: bytes) -> bytes:
    """XProf's page with the notice above its content; any other page as it is."""
    if page.count(_BEFORE) != 1:
        return page
    return page.replace(_BEFORE, _NOTICE + _BEFORE + b"<script>" + _SCRIPT.encode() + b"</script>")
