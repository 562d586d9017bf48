// The dialog of a conversation's settings, and of presets. What it asks for goes to the server as
// JSON in #pawl-settings-command; the reply stands in #pawl-settings-reply. Escape discards what was
// changed only at the second press, and a reload keeps it.
(() => {
  const DRAFT = "pawl-settings-draft", BEFORE = "before";
  const FIELDS = ["system_prompt", "temperature", "max_tokens", "model"];
  const find = (place) => document.querySelector(place);
  const chat = () => new URL(location.href).searchParams.get("chat");
  const person = () => find(".pawl-who a")?.textContent ?? null;
  const send = (command) => pawlSend("#pawl-settings-command", command);
  const said = (key) => pawlText(key).replace(/[&<"]/g, (one) => `&#${one.charCodeAt(0)};`);
  const MARKUP = `<form novalidate>
    <h2 id="pawl-settings-title">${said("scripts.settings_title")}</h2>
    <div class="pawl-pair"><label>${said("scripts.preset")}<select name="preset"
      aria-label="${said("scripts.preset")}"></select></label>
      <button type="button" data-do="delete">${said("scripts.delete_preset")}</button></div>
    <label>${said("scripts.system_prompt")}<textarea name="system_prompt" rows="5"
      maxlength="20000" dir="auto" placeholder="${said("scripts.system_prompt_hint")}"></textarea></label>
    <div class="pawl-pair">
      <label>${said("scripts.temperature")}<input name="temperature" type="number" min="0"
        max="2" step="any" inputmode="decimal" placeholder="${said("scripts.temperature_hint")}"></label>
      <label>${said("scripts.max_tokens")}<input name="max_tokens" type="number" min="1"
        max="1000000" step="1" inputmode="numeric" placeholder="${said("scripts.max_tokens_hint")}"></label></div>
    <label>${said("scripts.version")}<select name="model"
      aria-label="${said("scripts.version")}"></select></label>
    <div class="pawl-pair"><label>${said("scripts.preset_name")}<input name="name" maxlength="80" dir="auto"
        autocomplete="off"></label>
      <button type="button" data-do="preset">${said("scripts.save_preset")}</button></div>
    <p role="status"></p>
    <div class="pawl-end"><button type="button" data-do="cancel">${said("scripts.cancel")}</button>
      <button type="submit" class="pawl-go">${said("scripts.use")}</button></div></form>`;
  let dialog = null, presets = [], was = "", before = null, armed = null, draft = null;

  const field = (name) => dialog.querySelector(`[name="${name}"]`);
  const typed = () => Object.fromEntries(FIELDS.map((name) => [name, field(name).value]));
  const isChanged = () => JSON.stringify(typed()) !== was || field("name").value !== "";
  const say = (text) => { dialog.querySelector("[role=status]").textContent = text; };
  const option = (select, value, text) => {
    if (![...select.options].some((one) => one.value === value)) select.add(new Option(text, value));
  };
  const fill = (settings) => {
    for (const name of FIELDS) {
      const value = String(settings[name] ?? (name === "model" ? "pawl" : ""));
      if (name === "model") option(field(name), value, pawlText("scripts.not_loaded", { name: value }));
      field(name).value = value;
    }
  };
  const list = (chosen) => {
    const select = field("preset");
    select.replaceChildren(
      new Option(pawlText(presets.length ? "scripts.choose_preset" : "scripts.no_presets"), ""));
    for (const { name } of presets) select.add(new Option(name, `=${name}`));
    if (before) select.add(new Option(pawlText("scripts.as_before"), BEFORE));
    select.value = presets.some(({ name }) => name === chosen) ? `=${chosen}` : "";
    dialog.querySelector("[data-do=delete]").disabled = !select.value.startsWith("=");
  };
  // What the server takes; null, and it is said, where a number is none.
  const settings = () => {
    for (const name of ["temperature", "max_tokens"])
      if (!field(name).checkValidity()) {
        say(`${field(name).parentElement.firstChild.textContent}: ${field(name).validationMessage}`);
        field(name).focus();
        return null;
      }
    const { system_prompt: prompt, temperature, max_tokens: most, model } = typed();
    return { system_prompt: prompt || null, temperature: temperature === "" ? null : +temperature,
      max_tokens: most === "" ? null : +most, model };
  };
  const isPressedAgain = (what, text) => {
    if (armed === what) return true;
    armed = what;
    say(text);
    return false;
  };
  const does = {
    cancel: () => dialog.close(),
    delete: () => {
      const name = field("preset").value.slice(1);
      if (isPressedAgain(`delete ${name}`, pawlText("scripts.delete_preset_again", { name })))
        send({ do: "delete", name });
    },
    preset: () => {
      const name = field("name").value.trim(), values = settings();
      if (!values) return;
      if (!name) {
        say(pawlText("scripts.name_the_preset"));
        return field("name").focus();
      }
      const isKnown = presets.some((one) => one.name === name);
      if (!isKnown || isPressedAgain(`preset ${name}`, 
          pawlText("scripts.replace_preset_again", { name })))
        send({ do: "preset", name, settings: values });
    },
    keep: () => {
      const values = settings();
      if (values) send({ do: "keep", settings: values });
    },
  };
  const open = (reply) => {
    if (dialog) return;
    dialog = document.createElement("dialog");
    dialog.className = "pawl-ask pawl-settings";
    dialog.setAttribute("aria-labelledby", "pawl-settings-title");
    dialog.innerHTML = MARKUP;
    presets = reply.presets, before = null, armed = null;
    for (const [text, name] of reply.versions) option(field("model"), name, text);
    fill(reply.settings);
    was = JSON.stringify(typed());
    list();
    if (draft?.id === chat() && draft.who === person()) {
      fill(draft.typed);
      field("name").value = draft.name;
    }
    draft = null;
    sessionStorage.removeItem(DRAFT);
    dialog.addEventListener("click", (event) => {
      const name = event.target.closest?.("[data-do]")?.dataset.do;
      if (name) does[name]();
    });
    dialog.addEventListener("submit", (event) => {
      event.preventDefault();
      does.keep();
    });
    dialog.addEventListener("input", (event) => {
      armed = null;
      say("");
      if (event.target.name !== "preset") return;
      const chosen = event.target.value;
      const known = presets.find(({ name }) => `=${name}` === chosen)?.settings;
      if (known && !before) before = typed();
      if (known ?? (chosen === BEFORE && before)) fill(known ?? before);
      if (known) list(chosen.slice(1));
      dialog.querySelector("[data-do=delete]").disabled = !known;
    });
    dialog.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter" && event.target.name === "name") {
        event.preventDefault();
        does.preset();
      }
      if (event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      if (!isChanged() ||
          isPressedAgain("discard", pawlText("scripts.not_used_yet")))
        dialog.close();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      dialog = null;
      find("#pawl-settings")?.focus();
    });
    document.body.append(dialog);
    dialog.showModal();
    field("system_prompt").focus();
  };
  const take = (reply) => {
    if ("versions" in reply) return open(reply);
    if (!dialog) return;
    armed = null;
    if ("kept" in reply) return dialog.close();
    if ("problem" in reply) return say(reply.problem);
    const n = presets.length;
    presets = reply.presets;
    list(reply.chosen);
    const became = presets.length < n ? "scripts.preset_deleted" : "scripts.preset_saved";
    say(pawlText(became, { name: reply.chosen }));
    if (presets.length >= n) field("name").value = "";
  };

  addEventListener("click", (event) => {
    if (event.target.closest?.("#pawl-settings")) send({ do: "show" });
  });
  addEventListener("popstate", () => dialog?.close());
  let isLeaving = false;
  addEventListener("submit", (event) => {
    isLeaving = event.target.getAttribute("action") === "sign-out";
  }, true);
  addEventListener("pagehide", () => {
    if (!dialog || !isChanged() || isLeaving) return;
    const kept = { id: chat(), who: person(), typed: typed(), name: field("name").value };
    sessionStorage.setItem(DRAFT, JSON.stringify(kept));
  });
  draft = JSON.parse(sessionStorage.getItem(DRAFT));
  sessionStorage.removeItem(DRAFT);
  let read = "", isAsked = false;
  new MutationObserver(() => {
    find("#pawl-settings:not([aria-haspopup])")?.setAttribute("aria-haspopup", "dialog");
    // Whose it is stands on the page once the conversation is drawn.
    if (draft && !isAsked && find("#pawl-list .pawl-chats") && find("#pawl-settings-command textarea")) {
      isAsked = true;
      send({ do: "show" });
    }
    const text = find("#pawl-settings-reply [data-reply]")?.dataset.reply;
    if (!text || text === read) return;
    read = text;
    take(JSON.parse(text));
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
