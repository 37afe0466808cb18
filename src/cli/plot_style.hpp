// Looks and behaviour of the comparison page. Colours are those of Okabe and Ito (2008), which people with
// any of the common colour-vision deficiencies tell apart; the dark set is the same hues, lightened.
#pragma once

namespace fntk::cli::plot {

inline constexpr const char* kStyle = R"css(
:root { color-scheme: light dark;
  --page: #fbfaf8; --card: #ffffff; --ink: #1c1e21; --muted: #63686f; --rule: #e4e2dd; --grid: #edebe7; --stripe: #f5f3ef;
  --c0: #3a3d42; --c1: #0072b2; --c2: #d55e00; --c3: #009e73; --c4: #b8578f; --c5: #c98500; --c6: #3d9fd6; }
@media (prefers-color-scheme: dark) { :root {
  --page: #131518; --card: #1b1e22; --ink: #e9e7e3; --muted: #a0a5ad; --rule: #32363c; --grid: #2a2e34; --stripe: #23272c;
  --c0: #d4d2cd; --c1: #56b4e9; --c2: #f28a4b; --c3: #35c79e; --c4: #e39bc6; --c5: #f0b93a; --c6: #9fb4ff; } }
.f0 { --c: var(--c0); } .f1 { --c: var(--c1); } .f2 { --c: var(--c2); } .f3 { --c: var(--c3); }
.f4 { --c: var(--c4); } .f5 { --c: var(--c5); } .f6 { --c: var(--c6); }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 36px 28px 48px; }
.facts { margin: 0; color: var(--muted); font-size: 13px; overflow-wrap: anywhere; }
.facts b { color: var(--ink); font-weight: 600; }
h1 sub { font-size: .6em; }
h1 { font-size: clamp(22px, 2.6vw, 31px); line-height: 1.25; font-weight: 650; letter-spacing: -.012em;
  margin: 14px 0 10px; max-width: 36em; text-wrap: balance; overflow-wrap: anywhere; }
.lede { margin: 0 0 26px; max-width: 68em; font-size: 16px; color: var(--muted); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(215px, 1fr)); gap: 14px; margin-bottom: 12px; }
.card, figure, .table { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
.card { padding: 13px 16px 12px; border-top: 3px solid var(--c); }
.card h3 { display: flex; align-items: center; gap: 7px; margin: 0; font-size: 15px; font-weight: 650; }
.card .which { margin: 0 0 8px; color: var(--muted); font-size: 12.5px; }
.card dl { display: grid; grid-template-columns: auto 1fr; gap: 1px 8px; margin: 0; font-size: 13.5px; }
.card dt { text-align: right; font-weight: 650; font-variant-numeric: tabular-nums; white-space: nowrap; }
.card dd { margin: 0; color: var(--muted); }
.sizes { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 14px; margin: 0 2px 22px; color: var(--muted); font-size: 13px; }
.sizes span { display: inline-flex; align-items: center; gap: 3px; }
.icon { width: 18px; height: 18px; flex: none; vertical-align: -4px; }
.grid-2 { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 470px), 1fr)); gap: 18px; }
figure { margin: 0; padding: 16px 16px 10px; }
figcaption h2, .table h2 { font-size: 16.5px; font-weight: 650; margin: 0; }
figcaption p { margin: 2px 0 8px; color: var(--muted); font-size: 13px; line-height: 1.42; }
figure svg { display: block; width: 100%; height: auto; overflow: visible; }
figure.wide { grid-column: 1 / -1; }
.families { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); gap: 12px 28px; margin-top: 8px; }
.families svg { max-width: 460px; }
sub { font-size: .72em; line-height: 0; }
.note { margin: 4px 0 4px; font-size: 12.5px; color: var(--muted); }
svg text { font-size: 11.5px; fill: var(--muted); font-variant-numeric: tabular-nums; }
svg .axis { font-size: 12px; }
svg .tag { fill: var(--c, var(--muted)); fill: color-mix(in srgb, var(--c, var(--muted)) 78%, var(--ink));
  paint-order: stroke; stroke: var(--card); stroke-width: 3px; stroke-linejoin: round; }
svg .quiet { fill: var(--muted); }
svg .strong { font-weight: 650; }
svg .light { font-size: 10.5px; }
svg .gain { fill: var(--ink); font-weight: 650; }
svg .loss { fill: var(--muted); font-weight: 400; }
.grid { stroke: var(--grid); }
.limit, .theory { stroke: var(--muted); stroke-width: 1.3; stroke-dasharray: 6 4; fill: none; }
.series { stroke: var(--c); stroke-width: 1.6; fill: none; opacity: .5; }
.leader { stroke: var(--muted); stroke-width: .8; opacity: .8; }
.dot { fill: var(--c); stroke: var(--card); stroke-width: 1.2; }
.open { fill: var(--card); stroke: var(--c); stroke-width: 1.7; }
.link { stroke: var(--c); stroke-width: 1.6; opacity: .45; }
.own { stroke: var(--muted); stroke-width: 2; opacity: .55; }
.arrow { stroke: var(--c); stroke-width: 1.5; fill: none; }
.floor, .stripe { fill: var(--stripe); }
.stripe { opacity: 0; }
.mark:hover .stripe, .mark.hot .stripe { opacity: 1; }
.mark, .series { transition: opacity .12s; }
.dim { opacity: .13; }
tbody tr.hot td { background: var(--stripe); }
.table { margin-top: 18px; padding: 16px 0 6px; }
.table h2 { padding: 0 16px 8px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 12px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 6px; text-align: right; white-space: nowrap; font-weight: 400; }
thead th { vertical-align: bottom; color: var(--muted); font-size: 12px; line-height: 1.3; border-bottom: 1px solid var(--rule); }
tr.family th { text-align: left; padding: 9px 16px 3px; font-weight: 650; border-top: 1px solid var(--rule); }
tr.family small { font-weight: 400; color: var(--muted); font-size: 12px; }
tbody:first-of-type tr.family th { border-top: 0; }
td:first-child, thead th:first-child { position: sticky; left: 0; background: var(--card); padding-left: 38px; }
td:last-child, thead th:last-child { padding-right: 16px; }
td small { color: var(--muted); font-size: 11.5px; }
.bad { color: var(--c2); font-weight: 650; }
footer { margin-top: 16px; color: var(--muted); font-size: 12.5px; max-width: 80em; }
footer p { margin: 3px 0; }
#tip { position: fixed; z-index: 9; pointer-events: none; white-space: pre-line; max-width: 320px; padding: 8px 11px;
  border-radius: 7px; background: var(--ink); color: var(--page); font-size: 12.5px; line-height: 1.45; }
#tip::first-line { font-weight: 650; }
@media (max-width: 640px) { main { padding: 20px 12px; } figure { padding: 12px 10px 8px; } }
@media print { body { background: none; } figure, .card { break-inside: avoid; } }
)css";

// Pointing at a mark, a row or a card's head brings out the same network, or family, everywhere. Without
// scripts the browser shows each mark's <title> instead. Written without & and < so that the page also
// parses as XML.
inline constexpr const char* kScript = R"js(
const tip = document.createElement('div'); tip.id = 'tip'; tip.hidden = true; document.body.append(tip);
document.querySelectorAll('.mark').forEach(function (mark) {
  const title = mark.querySelector('title'); mark.dataset.tip = title.textContent; mark.ariaLabel = title.textContent; title.remove(); });
document.addEventListener('mouseover', function (event) {
  const at = event.target.closest('.mark, .card, .series, tr[data-row]');
  const key = at === null ? null : at.matches('.card, .series') ? 'family' : 'row';
  document.querySelectorAll('.mark, .series, tr[data-row]').forEach(function (other) {
    const same = key === null ? false : other.dataset[key] === at.dataset[key];
    const apart = key === null ? false : !same;
    other.classList.toggle('hot', same);
    other.classList.toggle('dim', apart ? !other.matches('tr') : false); });
  tip.hidden = at === null ? true : !at.dataset.tip;
  if (!tip.hidden) tip.textContent = at.dataset.tip; });
document.addEventListener('mousemove', function (event) {
  const left = Math.min(event.clientX + 16, innerWidth - tip.offsetWidth - 8);
  const top = Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8);
  tip.style.left = Math.max(8, left) + 'px'; tip.style.top = Math.max(8, top) + 'px'; });
)js";

}  // namespace fntk::cli::plot
