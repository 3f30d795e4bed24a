"""How a report looks: readable on a phone and in the dark, without anything from the network."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2128; --soft: #5b6470; --line: #d9dce1; --ground: #ffffff;
  --card: #f5f6f8; --right: #1a7f37; --wrong: #c1121f; --accent: #1f5fbf; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa3ae; --line: #363c44; --ground: #15181c;
  --card: #1f2328; --right: #56d364; --wrong: #ff7b72; --accent: #79b0ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p { margin: .3rem 0; max-width: 44rem; } .soft { color: var(--soft); }
.caution { border-left: 4px solid var(--wrong); padding: .2rem .8rem; margin: 1rem 0; }
.numbers { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .6rem; margin: 1.2rem 0; }
.numbers div { background: var(--card); border-radius: .5rem; padding: .6rem .8rem; }
.numbers b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.numbers span { color: var(--soft); font-size: .85rem; }
figure { margin: .6rem 0; } figure > img { display: block; max-width: 100%; height: auto; background: #fff;
  border-radius: .5rem; padding: .5rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.2rem, 1fr)); gap: .8rem; }
.pictures figure { margin: 0; } .pictures img { width: 100%; padding: 0; aspect-ratio: 1; object-fit: contain;
  background: var(--card); }
figcaption { font-size: .8rem; line-height: 1.3; overflow-wrap: anywhere; margin-top: .25rem; }
.right { color: var(--right); } .wrong { color: var(--wrong); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } td.number, th.number { text-align: right; }
td { overflow-wrap: anywhere; } td.number { white-space: nowrap; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--accent); }
pre { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; overflow-x: auto;
  font: .85rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
"""
