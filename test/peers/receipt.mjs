// Checks a receipt as somebody would who has read what its digests are made
// of and has none of our code:
//
//   node receipt.mjs FILE
//
// The effect digest is made anew from the request, the decision digest from
// that and the question, and the passkey's assertion over it is verified by
// @simplewebauthn/server. Prints what it found as JSON.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { verifyAuthenticationResponse } from "@simplewebauthn/server";

const receipt = JSON.parse(readFileSync(process.argv[2], "utf8"));
const { action, question, decisions: [decision] } = receipt;

const count = (n) => {
  const b = Buffer.alloc(8);
  b.writeBigUInt64BE(BigInt(n));
  return b;
};
// Every field stands behind its length.
const field = (v) => {
  const b = Buffer.isBuffer(v) ? v : Buffer.from(v, "utf8");
  return Buffer.concat([count(b.length), b]);
};
const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();

const request = action.request;
const body = Buffer.from(request.body ?? "", "base64");
const headers = request.header ?? [];
const effect = sha256(
  ...["valetkey/effect/v1", action.org, action.user, action.agent, action.connection, action.account,
    request.method, request.scheme, request.host, request.port, request.path, request.query ?? ""].map(field),
  count(headers.length), ...headers.flatMap((h) => [field(h.name), field(h.value)]),
  field(action.amount), sha256(body),
);

const micros = (iso) => {
  const [, whole, part = ""] = iso.match(/^(.*?)(?:\.(\d+))?Z$/);
  return (BigInt(Date.parse(whole + "Z")) * 1000n + BigInt(part.padEnd(6, "0").slice(0, 6))).toString();
};
const challenge = sha256(
  ...["valetkey/decision/v2", action.org, question.id, effect, decision.answer, String(question.level),
    question.policy_version, question.spec_hash, Buffer.from(question.nonce, "base64"), micros(question.expires_at), decision.precondition].map(field),
);

const e = decision.evidence;
const { verified, authenticationInfo } = await verifyAuthenticationResponse({
  response: {
    id: e.credentialId, rawId: e.credentialId, type: "public-key", clientExtensionResults: {},
    response: { clientDataJSON: e.clientDataJSON, authenticatorData: e.authenticatorData, signature: e.signature },
  },
  expectedChallenge: challenge.toString("base64url"),
  expectedOrigin: e.origin,
  expectedRPID: e.rpId,
  credential: { id: e.credentialId, publicKey: new Uint8Array(Buffer.from(e.publicKey, "base64url")), counter: 0 },
  requireUserVerification: true,
});
process.stdout.write(JSON.stringify({
  effect: effect.toString("hex") === action.effect,
  decision: challenge.toString("hex") === decision.digest,
  verified, userVerified: authenticationInfo.userVerified, operation: action.operation,
}));
