// An identity provider: oidc-provider as it comes, with its own pages for login
// and consent, and one client.
import Provider from "oidc-provider";

const [port, redirectURI, clientID, clientSecret] = process.argv.slice(2);
const issuer = `http://localhost:${port}`;
const provider = new Provider(issuer, {
  clients: [{ client_id: clientID, client_secret: clientSecret, redirect_uris: [redirectURI], response_types: ["code"], grant_types: ["authorization_code"] }],
  cookies: { keys: ["a key for the cookies of a test"] },
  pkce: { required: () => true },
});
const server = provider.listen(Number(port), "127.0.0.1", () => console.log(`listening as ${issuer}`));
process.on("SIGTERM", () => { server.close(() => process.exit(0)); server.closeAllConnections(); });
