// A question, its answers as radio buttons, and a button that notes the one chosen.
let questions = 0; // radio buttons of one question belong together, and to no other question on the page

export default {
  render({ model, el }) {
    const { question, answers } = model.get("data"), group = `lmlab-question-${questions++}`;
    const node = kit.root(el, "A prediction");
    const set = kit.add(node, "fieldset", { class: "answers" });
    kit.add(set, "legend", {}, question);
    const inputs = answers.map((text, i) => {
      const label = kit.add(set, "label");
      const input = kit.add(label, "input", { type: "radio", name: group, value: i });
      label.append(text);
      return input;
    });
    const button = kit.add(node, "button", { type: "button" }, "Note my guess");
    button.addEventListener("click", () => {
      const chosen = inputs.findIndex((input) => input.checked);
      if (chosen < 0) return inputs[0].focus();
      if (model.get("state").noted !== null) return;
      model.set("state", { noted: chosen });
      model.save_changes();
    });
    kit.words(node, model);
    kit.drawing(node, model, () => {
      const { noted } = model.get("state");
      if (noted === null) return;
      inputs[noted].checked = true;
      inputs.forEach((input) => { input.disabled = true; });
      button.setAttribute("aria-disabled", "true"); // a disabled one would lose the focus to JupyterLab
      button.textContent = "Noted";
    });
  },
};
