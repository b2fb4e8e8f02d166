/** The page's style sheet: light and dark by the reader's preference, no fonts or images from anywhere. */
export const STYLE = `
:root{color-scheme:light dark;--bg:#f6f7f9;--panel:#fff;--ink:#1b2430;--soft:#5b6676;--line:#dde2e9;--before:#8792a6;--after:#0b7f78;
--good:#1a7f37;--good-bg:#e3f5e8;--warn:#8a5a00;--warn-bg:#fdf1d8;--bad:#b3261e;--bad-bg:#fbe6e4;--info:#2b5fa8;--info-bg:#e6eefa;--grid:#e8ebf0}
@media (prefers-color-scheme:dark){:root{--bg:#12161c;--panel:#1a2029;--ink:#e6eaf0;--soft:#9aa5b5;--line:#2e3743;--before:#75819a;--after:#3cc4b8;
--good:#5fce82;--good-bg:#17301f;--warn:#e8b34a;--warn-bg:#33290f;--bad:#ff8a80;--bad-bg:#3a1c1a;--info:#85b4f5;--info-bg:#182740;--grid:#262e39}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
main,header{max-width:1080px;margin:0 auto;padding:0 20px}
header{padding-top:36px}
h1{font-size:29px;line-height:1.25;margin:10px 0 10px;font-weight:650;letter-spacing:-.01em;overflow-wrap:break-word}
h2{font-size:21px;margin:44px 0 6px;font-weight:650}
h3{font-size:16px;margin:0 0 8px;font-weight:650}
p{margin:6px 0 12px;max-width:76ch}
.soft,small{color:var(--soft)}
small{font-size:13.5px}
.brand{font-size:14px;color:var(--soft);letter-spacing:.02em}
.brand b{color:var(--after)}
.badge{display:inline-block;border-radius:99px;padding:2px 12px;font-size:14px;font-weight:650}
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}.info{color:var(--info)}
.badge.good{background:var(--good-bg)}.badge.warn{background:var(--warn-bg)}.badge.bad{background:var(--bad-bg)}.badge.info{background:var(--info-bg)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:14px;margin:22px 0 8px}
.card,.panel{background:var(--panel);border:1px solid var(--line);border-radius:12px;padding:16px 18px}
.card h3{font-size:14px;color:var(--soft);font-weight:600;margin:0}
.card .big{font-size:26px;font-weight:680;line-height:1.25;margin:2px 0;letter-spacing:-.01em}
.card p{margin:2px 0 8px;font-size:14px}
.panel{margin:12px 0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(460px,100%),1fr));gap:14px}
.pair .panel{margin:0}
.trio{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(300px,100%),1fr));gap:14px}
.trio .panel{margin:0}.trio p{margin:4px 0 0}
.fill.pair{grid-template-columns:repeat(auto-fill,minmax(min(460px,100%),1fr))}.fill.trio{grid-template-columns:repeat(auto-fill,minmax(min(300px,100%),1fr))}
h3.step-title{margin:18px 0 6px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14.5px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:7px 10px;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child>td,tbody>tr:last-child>th{border-bottom:0}
thead th{font-size:13px;color:var(--soft);font-weight:600;white-space:nowrap}
td.n,th.n{text-align:right;white-space:nowrap}
td.keep,td.text{overflow-wrap:break-word}td.text{min-width:230px}
td.what{color:var(--soft);font-size:13.5px;min-width:230px}
td.name{min-width:170px}
tbody th{font-weight:600;min-width:112px;overflow-wrap:break-word}
td.what{overflow-wrap:break-word}
table.wide td,table.wide th{padding:5px 8px;font-size:13.5px}
code,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.9em}
pre{overflow:auto;max-height:420px;background:var(--bg);border-radius:8px;padding:10px 12px;font-size:12.5px;line-height:1.45;margin:8px 0;white-space:pre-wrap}
ul.advice{list-style:none;padding:0;margin:12px 0}
ul.advice li{border:1px solid var(--line);border-left-width:5px;background:var(--panel);border-radius:8px;padding:10px 14px;margin:8px 0}
ul.advice li.warning{border-left-color:var(--bad)}ul.advice li.advice{border-left-color:var(--warn)}ul.advice li.note{border-left-color:var(--info)}
ul.advice b{display:block;font-size:13px}
.chips{display:flex;flex-wrap:wrap;gap:6px;align-items:center;margin:8px 0;font-size:14px}
.chip{border:1px solid var(--line);background:var(--panel);border-radius:99px;padding:1px 12px}
details>summary{cursor:pointer;font-weight:600;padding:4px 0}
details.step{background:var(--panel);border:1px solid var(--line);border-radius:12px;padding:10px 18px;margin:10px 0}
dl.glossary{columns:2 400px;column-gap:34px;font-size:14.5px;margin:12px 0}
dl.glossary div{break-inside:avoid;margin-bottom:12px}
dt{font-weight:650}dd{margin:0;color:var(--soft)}
nav{margin:18px 0 0;font-size:14.5px}
nav a{color:var(--after);margin-right:16px;white-space:nowrap}
footer{margin:50px auto 40px;color:var(--soft);font-size:13.5px}
svg{display:block;width:100%;height:auto;font-family:inherit}
svg.wide{min-width:620px}svg.share{width:120px}
svg text{fill:var(--soft);font-size:12.5px}
svg text.strong{fill:var(--ink);font-weight:600}
svg .before{fill:var(--before)}svg .after{fill:var(--after)}
svg .before-line{stroke:var(--before);fill:none}svg .after-line{stroke:var(--after);fill:none}
svg .before-area{fill:var(--before);opacity:.35}svg .after-area{fill:var(--after);opacity:.35}
svg .curve{stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg .before-line.curve{stroke-dasharray:5 4}svg .dashed{stroke-dasharray:2 4}
svg .grid{stroke:var(--grid);stroke-width:1}svg .axis{stroke:var(--soft);stroke-width:1}
svg .limit{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:5 4;fill:none}
svg .zero{stroke:var(--soft);stroke-width:1.5}
svg .link{stroke:var(--soft);stroke-width:1.5;opacity:.6}
svg.natural{width:auto;max-width:none}svg.key{display:inline-block;width:17px;height:17px;margin-right:4px;vertical-align:-4px}
svg .ring{fill:none;stroke:var(--ink);stroke-width:1.8}svg .hollow{fill:var(--panel);stroke:var(--before);stroke-width:1.6}
svg .over{fill:none;stroke:var(--bad);stroke-width:1.6}svg .front{stroke-width:1.6}
svg .bold{stroke-width:2.2;opacity:.85}svg .thin{stroke-width:1;opacity:.6}
svg text.halo{paint-order:stroke;stroke:var(--panel);stroke-width:3.5px;stroke-linejoin:round}
svg .noisy{fill:var(--bad)}svg .fair{fill:var(--warn)}svg .fine{fill:var(--after)}
.legend{display:flex;gap:18px;font-size:13.5px;color:var(--soft);margin:2px 0 8px;flex-wrap:wrap}
.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
i.before{background:var(--before)}i.after{background:var(--after)}i.noisy{background:var(--bad)}i.fair{background:var(--warn)}
@media (max-width:620px){h1{font-size:24px}.hide-small{display:none}table.stack th,table.stack td{display:block}table.stack th{border:0;padding-bottom:0}}
@media print{body{background:#fff}details{break-inside:avoid}.panel,.card{break-inside:avoid}nav{display:none}}
`;
