// Forms that a passkey fills in: <form data-passkey="create|get" data-options="…" | data-options-from="…">.
// The browser's answer goes into the field `credential`, then the form is sent as any other. No library, no inline handler.
"use strict";
(() => {
  const able = window.isSecureContext && "PublicKeyCredential" in window && "credentials" in navigator;
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const known = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));

  // parseCreationOptionsFromJSON and toJSON are younger than passkeys are
  const publicKey = (options) => ({
    ...options,
    challenge: bytes(options.challenge),
    ...(options.user ? { user: { ...options.user, id: bytes(options.user.id) } } : {}),
    ...(options.excludeCredentials ? { excludeCredentials: known(options.excludeCredentials) } : {}),
    ...(options.allowCredentials ? { allowCredentials: known(options.allowCredentials) } : {}),
  });

  const asJson = (credential) => {
    const said = credential.response;
    const response = { clientDataJSON: text(said.clientDataJSON) };
    for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (said[name]) response[name] = text(said[name]);
    }
    if (said.getTransports) response.transports = said.getTransports();
    return JSON.stringify({
      id: credential.id,
      rawId: text(credential.rawId),
      type: credential.type,
      clientExtensionResults: {},
      response,
    });
  };

  const options = async (form) => {
    if (form.dataset.options) return JSON.parse(form.dataset.options);
    const answer = await fetch(form.dataset.optionsFrom, {
      method: "POST",
      headers: { Accept: "application/json", "Content-Type": "application/json" },
      body: JSON.stringify({ next: form.dataset.next }),
    });
    if (!answer.ok) throw new Error(`${answer.status}`);
    return (await answer.json()).options;
  };

  const words = (error) => {
    if (error.name === "NotAllowedError") return "No passkey was used: it was cancelled, took too long, or there is none here.";
    if (error.name === "InvalidStateError") return "This device has a passkey for your account already.";
    if (error.name === "SecurityError") return "Passkeys do not work at this address. Open the site by its name.";
    return "That did not work. Reload the page and try again.";
  };

  const send = async (form) => {
    const said = form.querySelector("[data-passkey-said]");
    const button = form.querySelector("button[type=submit]");
    said.hidden = true;
    button.disabled = true;
    try {
      const request = { publicKey: publicKey(await options(form)) };
      const create = form.dataset.passkey === "create";
      const credential = await (create ? navigator.credentials.create(request) : navigator.credentials.get(request));
      form.elements.credential.value = asJson(credential);
      form.submit();
    } catch (error) {
      said.textContent = words(error);
      said.hidden = false;
      button.disabled = false;
    }
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    if (!able) continue;
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send(form);
    });
  }
  for (const missing of document.querySelectorAll("[data-passkey-missing]")) missing.hidden = able;
})();
