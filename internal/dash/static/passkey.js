// Passkeys: each function asks the server for options, lets the browser talk
// to the authenticator, and returns what the server has to check. Binary
// members travel as base64url without padding.
"use strict";
(() => {
  const decode = (text) => {
    const raw = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return Uint8Array.from(raw, (c) => c.charCodeAt(0));
  };
  const encode = (buffer) => {
    let raw = "";
    for (const byte of new Uint8Array(buffer)) raw += String.fromCharCode(byte);
    return btoa(raw).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  };
  const withIds = (list) => (list || []).map((c) => ({ ...c, id: decode(c.id) }));

  // said turns the browser's errors into something a person can act on.
  const said = (err, doing) => {
    switch (err.name) {
      case "NotAllowedError": return new Error(doing + " was cancelled or took too long. Nothing was changed.");
      case "InvalidStateError": return new Error("This device already has a passkey here.");
      case "SecurityError": return new Error("The browser refuses passkeys on this address. Use the host name that the server was started with.");
      default: return err instanceof Error && err.message ? err : new Error(doing + " did not work.");
    }
  };

  const supported = () => {
    if (!window.PublicKeyCredential) throw new Error("This browser has no passkeys, or the page is not served over HTTPS or localhost.");
  };

  // enrol makes a new passkey; body names the invitation.
  Valetkey.enrol = async (url, body) => {
    supported();
    const { publicKey } = await Valetkey.post(url, body);
    publicKey.challenge = decode(publicKey.challenge);
    publicKey.user = { ...publicKey.user, id: decode(publicKey.user.id) };
    publicKey.excludeCredentials = withIds(publicKey.excludeCredentials);
    let made;
    try { made = await navigator.credentials.create({ publicKey }); } catch (err) { throw said(err, "Creating the passkey"); }
    return {
      id: made.id, rawId: encode(made.rawId), type: made.type,
      authenticatorAttachment: made.authenticatorAttachment || undefined,
      clientExtensionResults: made.getClientExtensionResults(),
      response: {
        clientDataJSON: encode(made.response.clientDataJSON),
        attestationObject: encode(made.response.attestationObject),
        transports: made.response.getTransports ? made.response.getTransports() : [],
      },
    };
  };

  // assert proves presence: for a login, or bound to one decision, in which
  // case the server's challenge is that decision's digest.
  Valetkey.assert = async (url, body) => {
    supported();
    const { publicKey } = await Valetkey.post(url, body);
    publicKey.challenge = decode(publicKey.challenge);
    publicKey.allowCredentials = withIds(publicKey.allowCredentials);
    let got;
    try { got = await navigator.credentials.get({ publicKey }); } catch (err) { throw said(err, "Using the passkey"); }
    return {
      id: got.id, rawId: encode(got.rawId), type: got.type,
      authenticatorAttachment: got.authenticatorAttachment || undefined,
      clientExtensionResults: got.getClientExtensionResults(),
      response: {
        clientDataJSON: encode(got.response.clientDataJSON),
        authenticatorData: encode(got.response.authenticatorData),
        signature: encode(got.response.signature),
        userHandle: got.response.userHandle ? encode(got.response.userHandle) : undefined,
      },
    };
  };
})();
