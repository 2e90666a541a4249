// A worker as they were written in 2025 against another token vault: it signs a
// JWT for one user with the key of its client and trades it for that user's
// token at a provider. No client assertion, no jti, no requested_token_type.
//
// ISSUER, CLIENT_ID, CREDENTIAL_ID, KEY_FILE, SUBJECT and TIMES say for whom
// and how often. The answers are printed as JSON, with the header and claims
// that were sent.
"use strict";

const fs = require("node:fs");
const axios = require("axios");
const jwt = require("jsonwebtoken");

const { ISSUER, CLIENT_ID, CREDENTIAL_ID, KEY_FILE, SUBJECT, TIMES } = process.env;
const key = fs.readFileSync(KEY_FILE, "utf8");

const sign = () =>
  jwt.sign({ sub: SUBJECT, aud: ISSUER, iss: CLIENT_ID }, key, {
    algorithm: "RS256",
    expiresIn: 60,
    header: { typ: "token-vault-req+jwt" },
  });

const exchange = async () => {
  const token = sign();
  const res = await axios.post(
    new URL("/oauth/token", ISSUER).href,
    {
      grant_type: "urn:auth0:params:oauth:grant-type:token-exchange:federated-connection-access-token",
      client_id: CLIENT_ID,
      client_credential_id: CREDENTIAL_ID,
      subject_token: token,
      subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
      connection: "github",
    },
    { headers: { "content-type": "application/json" }, validateStatus: () => true, proxy: false },
  );
  return { token, status: res.status, headers: res.headers, data: res.data };
};

// secondBegins waits for the first half of a second, so that what is signed
// one after the other carries the same iat and is the same, byte for byte.
const secondBegins = async () => {
  const into = Date.now() % 1000;
  if (into > 300) await new Promise((done) => setTimeout(done, 1000 - into));
};

(async () => {
  await secondBegins();
  const answers = [];
  for (let i = 0; i < Number(TIMES); i++) answers.push(await exchange());
  const { header, payload } = jwt.decode(answers[0].token, { complete: true });
  process.stdout.write(JSON.stringify({ header, payload, answers }));
})().catch((err) => {
  process.stderr.write(`${err.message}\n`);
  process.exit(1);
});
