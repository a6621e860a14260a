// A certified OpenID Connect provider on loopback. What tests want of it beyond the protocol comes to POST /control:
// other keys, another clock, ID tokens that are not as they should be, or no answers at all.

import { createServer } from "node:http";
import { isDeepStrictEqual } from "node:util";
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT, decodeJwt } from "jose";
import Provider from "oidc-provider";

const [port, known] = process.argv.slice(2);
const issuer = `http://localhost:${port}`;
const trueNow = Date.now;

let key; // the one that signs
let kept = []; // all that are published
let listener;
let clients = JSON.parse(known);
let wrong = {};

async function newKey() {
  const pair = await generateKeyPair("ES256", { extractable: true });
  const kid = `key-${kept.length + 1}-${trueNow()}`;
  key = { kid, private: pair.privateKey };
  return { ...(await exportJWK(pair.privateKey)), kid, alg: "ES256", use: "sig" };
}

function serve() {
  const provider = new Provider(issuer, {
    clients,
    jwks: { keys: kept },
    cookies: { keys: ["of a test"] },
    claims: { openid: ["sub"], profile: ["preferred_username", "name"], email: ["email", "email_verified"] },
    conformIdTokenClaims: !wrong.claimsInToken,
    enabledJWA: { idTokenSigningAlgValues: ["ES256"] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: async () => ({ sub: id, preferred_username: wrong.name ?? id, email: `${id}@example.org` }),
    }),
  });
  provider.use(tamper);
  listener = provider.callback();
}

// Between the provider and who asks for a token. Its pages want a typeface from the internet, which tests do without.
async function tamper(context, next) {
  await next();
  if (context.type === "text/html") context.body = context.body.replace(/@import url\([^)]*\);/, "");
  if (context.path !== "/token" || !context.body?.id_token) return;
  const { claims, signature } = wrong;
  if (!claims && !signature) return;
  const told = { ...decodeJwt(context.body.id_token), ...claims };
  for (const name of Object.keys(told)) if (told[name] === null) delete told[name];
  context.body = { ...context.body, id_token: await signed(told, signature) };
}

async function signed(claims, how) {
  if (how === "none") return new UnsecuredJWT(claims).encode();
  if (how === "shared") {
    return new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).sign(Buffer.from(wrong.secret));
  }
  const ours = how === "another's" ? (await generateKeyPair("ES256")).privateKey : key.private;
  const token = await new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: key.kid }).sign(ours);
  return how === "changed" ? changed(token) : token;
}

function changed(token) {
  const [head, body, signature] = token.split(".");
  const claims = { ...JSON.parse(Buffer.from(body, "base64url")), sub: "somebody-else" };
  return [head, Buffer.from(JSON.stringify(claims)).toString("base64url"), signature].join(".");
}

async function control(request, response) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const before = [clients, wrong.claimsInToken];
  ({ clients, ...wrong } = JSON.parse(Buffer.concat(parts)));
  Date.now = () => trueNow() + 1000 * (wrong.clock ?? 0);
  if (wrong.newKey) kept = [await newKey()];
  // A new one forgets who is signing in just now.
  if (wrong.newKey || !isDeepStrictEqual(before, [clients, wrong.claimsInToken])) serve();
  response.end();
}

kept.push(await newKey());
serve();
const server = createServer((request, response) => {
  if (request.url === "/control") return control(request, response);
  const answer = wrong.answers && Object.entries(wrong.answers).find(([path]) => request.url.startsWith(path));
  if (answer) {
    response.statusCode = answer[1].status ?? 200;
    return response.end(answer[1].body ?? "");
  }
  return listener(request, response);
});
server.listen(Number(port), "127.0.0.1", () => console.log("ready"));
