"use strict";
(function () {
  const ROW_HEIGHT = 30;
  const AHEAD = 12;
  const FIRST_SHOWN = ["base", "teacher", "distill"];
  const WORDS = { w: "won", l: "lost", e: "error", ".": "not played" };
  const folder = document.currentScript.dataset.chunks;
  const at = function (id) { return document.getElementById(id); };
  const loaded = new Map();  // chunk number -> promise of its episodes
  const arrived = new Map();  // chunk number -> what resolves that promise
  let index, searchable, fitting = [], selected = -1, shownArms;

  function unpack(text) {
    const bytes = Uint8Array.from(atob(text), function (c) { return c.charCodeAt(0); });
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  function element(tag, text, name) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  // Files beside the page come as scripts: a page that was opened from a disk may not fetch.
  function load(name) {
    const script = document.createElement("script");
    script.src = folder + "/" + name;
    script.onerror = function () { at("count").textContent = "cannot read " + script.src + "; keep the folder " + folder + " beside this page"; };
    document.head.append(script);
  }

  window.offbookIndex = function (packed) {
    unpack(packed).then(start);
  };
  window.offbookChunk = function (number, packed) {
    unpack(packed).then(arrived.get(number));
  };

  function chunk(number) {
    if (!loaded.has(number)) {
      loaded.set(number, new Promise(function (resolve) { arrived.set(number, resolve); }));
      load(String(number).padStart(5, "0") + ".js");
    }
    return loaded.get(number);
  }

  function start(document_) {
    index = document_;
    searchable = index.tasks.map(function (task) { return (task[0] + " " + task[2]).toLowerCase(); });
    const names = index.arms.map(function (arm) { return arm.name; });
    const usual = FIRST_SHOWN.filter(function (name) { return names.includes(name); });
    shownArms = new Set(usual.length ? usual : names.slice(0, 3));
    document.body.style.setProperty("--arms", names.length);
    fillFilters();
    readHash();
    filter();
    document.body.dataset.readyMs = performance.now().toFixed(0);
  }

  function fillFilters() {
    for (const kind of Array.from(new Set(index.tasks.map(function (task) { return task[1]; }))).sort()) at("kind").append(new Option(kind, kind));
    for (const seed of Array.from(new Set(index.pairSeed)).sort(function (a, b) { return a - b; })) at("seed").append(new Option(seed, seed));
    at("heads").append(element("div", "task"), element("div", "seed"));
    for (const arm of index.arms) {
      const head = element("label");
      const dot = element("span", undefined, "dot");
      dot.style.background = arm.colour;
      head.append(dot, arm.name);
      head.title = arm.name;
      const choice = element("select");
      choice.dataset.arm = arm.name;
      for (const [value, text] of [["", "any"], ["w", "won"], ["l", "lost"], ["e", "error"]]) choice.append(new Option(text, value));
      choice.addEventListener("change", changed);
      head.append(choice);
      at("heads").append(head);
    }
    at("words").addEventListener("input", changed);
    at("kind").addEventListener("change", changed);
    at("seed").addEventListener("change", changed);
    at("clear").addEventListener("click", function () {
      for (const choice of choices()) choice.value = "";
      at("words").value = at("kind").value = at("seed").value = "";
      changed();
    });
    at("scroll").addEventListener("scroll", draw);
    at("scroll").addEventListener("keydown", step);
    window.addEventListener("resize", draw);
    for (const arm of index.arms) {
      const label = element("label");
      const box = element("input");
      box.type = "checkbox";
      box.dataset.arm = arm.name;
      box.checked = shownArms.has(arm.name);
      box.addEventListener("change", function () {
        if (box.checked) shownArms.add(arm.name); else shownArms.delete(arm.name);
        open(selected);
      });
      label.append(box, " " + arm.name);
      at("shown").append(label);
    }
  }

  function choices() { return Array.from(at("heads").querySelectorAll("select")); }

  // The filters and the open task stand in the address, so that a finding can be passed on.
  function readHash() {
    const asked = new URLSearchParams(location.hash.slice(1));
    at("words").value = asked.get("words") || "";
    at("kind").value = asked.get("kind") || "";
    at("seed").value = asked.get("seed") || "";
    for (const choice of choices()) choice.value = asked.get("arm." + choice.dataset.arm) || "";
    if (asked.has("open")) {
      const [key, seed] = [asked.get("open"), Number(asked.get("at"))];
      const pair = index.pairTask.findIndex(function (task, i) { return index.tasks[task][0] === key && index.pairSeed[i] === seed; });
      if (pair >= 0) open(pair);
    }
  }

  function writeHash() {
    const now = new URLSearchParams();
    for (const name of ["words", "kind", "seed"]) if (at(name).value) now.set(name, at(name).value);
    for (const choice of choices()) if (choice.value) now.set("arm." + choice.dataset.arm, choice.value);
    if (selected >= 0) {
      now.set("open", index.tasks[index.pairTask[selected]][0]);
      now.set("at", index.pairSeed[selected]);
    }
    history.replaceState(null, "", "#" + now.toString());
  }

  function changed() {
    at("scroll").scrollTop = 0;
    filter();
    writeHash();
  }

  function filter() {
    const began = performance.now();
    const words = at("words").value.toLowerCase();
    const kind = at("kind").value;
    const tasks = index.tasks.map(function (task, i) { return (!kind || task[1] === kind) && (!words || searchable[i].includes(words)); });
    const seed = at("seed").value;
    const asked = [];
    for (const choice of choices()) if (choice.value) asked.push([index.arms.find(function (arm) { return arm.name === choice.dataset.arm; }).outcomes, choice.value]);
    fitting = [];
    for (let pair = 0; pair < index.pairTask.length; pair++) {
      if (!tasks[index.pairTask[pair]] || (seed && String(index.pairSeed[pair]) !== seed)) continue;
      let fits = true;
      for (const [outcomes, wanted] of asked) if (outcomes[pair] !== wanted) { fits = false; break; }
      if (fits) fitting.push(pair);
    }
    const all = index.pairTask.length;
    at("count").textContent = fitting.length === all ? all.toLocaleString("en") + " tasks and seeds" : fitting.length.toLocaleString("en") + " of " + all.toLocaleString("en") + summary();
    at("space").style.height = fitting.length * ROW_HEIGHT + "px";
    draw();
    document.body.dataset.filterMs = (performance.now() - began).toFixed(1);
  }

  function summary() {
    const parts = index.arms.map(function (arm) {
      let won = 0, played = 0;
      for (const pair of fitting) {
        const outcome = arm.outcomes[pair];
        if (outcome === "w") won++;
        if (outcome === "w" || outcome === "l") played++;
      }
      return played ? arm.name + " " + (100 * won / played).toFixed(0) + " %" : "";
    }).filter(Boolean);
    return parts.length ? " (" + parts.join(", ") + ")" : "";
  }

  function draw() {
    const scroll = at("scroll");
    const first = Math.max(0, Math.floor(scroll.scrollTop / ROW_HEIGHT) - AHEAD);
    const last = Math.min(fitting.length, first + Math.ceil(scroll.clientHeight / ROW_HEIGHT) + 2 * AHEAD);
    at("rows").style.top = first * ROW_HEIGHT + "px";
    at("rows").replaceChildren.apply(at("rows"), fitting.slice(first, last).map(line));
  }

  function line(pair) {
    const row = element("div", undefined, "line");
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", String(pair === selected));
    const task = index.tasks[index.pairTask[pair]];
    const goal = element("span", task[2] || task[0]);
    goal.title = task[0];
    row.append(goal, element("span", index.pairSeed[pair]));
    for (const arm of index.arms) {
      const outcome = arm.outcomes[pair];
      const score = arm.scores[pair];
      const partly = outcome === "l" && score > 0 ? " " + score.toFixed(2) : "";
      const cell = element("span", outcome === "." ? "·" : WORDS[outcome] + partly + " in " + arm.steps[pair], outcome === "." ? "none" : outcome);
      row.append(cell);
    }
    row.addEventListener("click", function () { open(pair); });
    return row;
  }

  function step(event) {
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!way || !fitting.length) return;
    event.preventDefault();
    const place = Math.min(fitting.length - 1, Math.max(0, fitting.indexOf(selected) + way));
    const scroll = at("scroll");
    const top = place * ROW_HEIGHT;
    if (top < scroll.scrollTop || top + ROW_HEIGHT > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = top - scroll.clientHeight / 2;
    open(fitting[place]);
  }

  function open(pair) {
    if (pair < 0) return;
    selected = pair;
    draw();
    const task = index.tasks[index.pairTask[pair]];
    at("reader").hidden = false;
    at("goal").textContent = task[2] || task[0];
    at("where").textContent = task[0] + ", " + task[1] + ", seed " + index.pairSeed[pair];
    writeHash();
    chunk(Math.floor(pair / index.perChunk)).then(function (bodies) {
      if (pair === selected) show(bodies[pair] || {});
    });
  }

  function show(bodies) {
    const columns = [];
    let opening = "";
    index.arms.forEach(function (arm, position) {
      const body = bodies[position];
      if (!body) return;
      opening = opening || body.opening;
      if (shownArms.has(arm.name)) columns.push(article(arm, body));
    });
    at("opening").textContent = opening;
    at("side").replaceChildren.apply(at("side"), columns);
    document.body.dataset.openMs = performance.now().toFixed(0);
  }

  function article(arm, body) {
    const made = element("article");
    const head = element("h3");
    const dot = element("span", undefined, "dot");
    dot.style.background = arm.colour;
    head.append(dot, arm.name);
    const outcome = arm.outcomes[selected];
    const line_ = element("p", undefined, "outcome");
    line_.append(element("b", WORDS[outcome], outcome === "w" ? "won" : "lost"), " " + arm.steps[selected] + " steps, ended by " + body.end.replaceAll("_", " ") + (body.error ? ": " + body.error : ""));
    made.append(head, line_);
    if (body.parts.length) {
      const parts = element("p", "score made of ", "parts");
      for (const [name, value] of body.parts) parts.append(element("span", name + " " + Number(value.toPrecision(2))));
      made.append(parts);
    }
    const given = element("div", body.hints.length ? undefined : "No hints in its prompt", body.hints.length ? "given" : "given none");
    if (body.hints.length) {
      const list = element("ul");
      for (const [text, turn] of body.hints) {
        const item = element("li");
        item.append(element("mark", text), turn ? " before turn " + (turn + 1) : "");
        list.append(item);
      }
      given.append(element("b", "Hints in its prompt"), list);
    }
    const turns = element("ol", undefined, "turns");
    body.turns.forEach(function (turn, number) { turns.append(turnView(turn, number + 1)); });
    made.append(given, turns);
    return made;
  }

  function turnView(turn, number) {
    const [fields, action, executed, observation, valid, reward, unread] = turn;
    const item = element("li", undefined, "turn" + (valid ? "" : " refused") + (action === null ? " thought" : ""));
    item.append(element("span", number, "no"));
    for (const [name, text] of fields) { const p = element("p", undefined, "field"); p.append(element("span", name, "tag"), " " + text); item.append(p); }
    if (action !== null || unread) {
      const p = element("p", undefined, "action");
      p.append(element("span", action === null ? "unread" : "action", "tag"), " ", element("code", action === null ? unread : action));
      if (executed && executed !== action) p.append(element("small", " played as " + executed));
      item.append(p);
    }
    const seen = element("p", observation, "seen");
    if (reward) seen.append(" ", element("b", (reward > 0 ? "+" : "") + Number(reward.toPrecision(2)), "reward"));
    item.append(seen);
    return item;
  }

  load("index.js");
})();
