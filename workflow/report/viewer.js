// Plays a reference and a generated trajectory side by side. Data: the JSON in #scenes (egi.report.viewer.scenes).
"use strict";
(() => {
  const scenes = JSON.parse(document.getElementById("scenes").textContent);
  const at = (id) => document.getElementById(id);
  const task = at("viewer-task"), molecule = at("viewer-molecule"), method = at("viewer-method");
  const slider = at("viewer-frame"), play = at("viewer-play"), speed = at("viewer-speed");
  const tasks = [...new Set(scenes.map((scene) => `${scene.dataset}: ${scene.task}`))];
  let views = null, scene = null, playing = false, visible = true, last = 0;

  function fill(select, options) {
    const before = select.value;
    select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    if (options.some(([value]) => String(value) === before)) select.value = before;
  }

  // base64 of little-endian int16 [frames, atoms, 3] in hundredths of an angstrom
  function decode(trajectory, atoms) {
    const bytes = Uint8Array.from(atob(trajectory.data), (c) => c.charCodeAt(0));
    const values = new DataView(bytes.buffer);
    return Array.from({ length: trajectory.frames }, (_, f) => Array.from({ length: atoms }, (_, a) =>
      [0, 1, 2].map((k) => values.getInt16(2 * (3 * (f * atoms + a) + k), true) / 100)));
  }

  function load(view, trajectory) {
    const frames = decode(trajectory, scene.elements.length);
    const atoms = scene.elements.map((elem, i) => ({ elem, serial: i, x: frames[0][i][0], y: frames[0][i][1], z: frames[0][i][2], bonds: [], bondOrder: [] }));
    for (const [a, b, order] of scene.bonds) {
      atoms[a].bonds.push(b); atoms[a].bondOrder.push(order);
      atoms[b].bonds.push(a); atoms[b].bondOrder.push(order);
    }
    view.removeAllModels();
    const model = view.addModel();
    model.addAtoms(atoms);
    model.setCoordinates(frames, "array");
    view.setStyle({}, { stick: { radius: 0.13 }, sphere: { scale: 0.24 } });
    return Math.max(...frames.flat(2).map(Math.abs));  // how far from the centre an atom gets
  }

  function show(frame) {
    const count = Number(slider.max) + 1;
    slider.value = ((frame % count) + count) % count;
    const time = (slider.value * scene.interval_ps).toFixed(1);
    at("viewer-time").value = `${Number(slider.value) + 1} of ${count}, ${time} ps`;
    slider.setAttribute("aria-valuetext", `frame ${Number(slider.value) + 1} of ${count}, ${time} picoseconds`);
    if (views) for (const view of views) Promise.resolve(view.setFrame(Number(slider.value))).then(() => view.render());
  }

  function choose() {
    const named = scenes.filter((s) => `${s.dataset}: ${s.task}` === task.value);
    fill(molecule, named.map((s) => [s.molecule, s.molecule]));
    scene = named.find((s) => s.molecule === molecule.value);
    fill(method, scene.trajectories.slice(1).map((t) => [t.method, t.name]));
    const generated = scene.trajectories.find((t) => t.method === method.value);
    at("view-name").textContent = generated.name;
    at("viewer-smiles").textContent = scene.smiles;
    slider.max = Math.min(scene.trajectories[0].frames, generated.frames) - 1;
    if (views) {
      const reach = load(views[0], scene.trajectories[0]);
      if (load(views[1], generated) > 3 * reach) at("view-name").textContent += " (atoms far out of view)";
      views[0].zoomTo();  // both are seen at the reference's scale
      views[1].setView(views[0].getView());
    }
    show(0);
  }

  function setPlaying(on) {
    playing = on;
    play.textContent = on ? "Pause" : "Play";
    play.setAttribute("aria-pressed", String(on));
    if (on) requestAnimationFrame(step);
  }

  function step(now) {
    if (!playing) return;
    if (visible && now - last >= 1000 / Number(speed.value)) {
      last = now;
      show(Number(slider.value) + 1);
    }
    requestAnimationFrame(step);
  }

  function start() {
    try {
      views = ["view-reference", "view-generated"].map((id) => $3Dmol.createViewer(at(id), { backgroundColor: "white", disableFog: true }));
      if (views.some((view) => !view)) throw new Error("no WebGL");
      views[0].linkViewer(views[1]);
      views[1].linkViewer(views[0]);
    } catch (error) {
      views = null;
      for (const id of ["view-reference", "view-generated"]) at(id).innerHTML = "<p>This browser does not offer WebGL, which the 3D view needs.</p>";
    }
    at("viewer").dataset.state = views ? "ready" : "unavailable";
    fill(task, tasks.map((name) => [name, name]));
    choose();
    for (const select of [task, molecule, method]) select.addEventListener("change", choose);
    slider.addEventListener("input", () => { setPlaying(false); show(Number(slider.value)); });
    play.addEventListener("click", () => setPlaying(!playing));
    at("viewer").addEventListener("keydown", (event) => {
      const control = event.target.tagName;  // these use the keys themselves
      if (control === "SELECT" || control === "INPUT") return;
      if (event.key === " " && control !== "BUTTON") { event.preventDefault(); setPlaying(!playing); }
      if (event.key === "ArrowRight") { setPlaying(false); show(Number(slider.value) + 1); }
      if (event.key === "ArrowLeft") { setPlaying(false); show(Number(slider.value) - 1); }
    });
    new IntersectionObserver(([entry]) => { visible = entry.isIntersecting; }).observe(at("viewer"));
    if (views && !matchMedia("(prefers-reduced-motion: reduce)").matches) setPlaying(true);
  }

  start();
})();
