// A certified OpenID provider for tests: `node oidc_server.mjs PORT ACCOUNTS.json REDIRECT_URI`. The file is read at each
// request: {"subject": {"name": ..., "email": ..., "groups": [...]}}. Any password is right; its pages are those of
// oidc-provider's development mode.
import console from "node:console";
import { readFileSync } from "node:fs";
import process from "node:process";
import { Provider } from "oidc-provider";

const [port, accounts, redirect] = process.argv.slice(2);
const issuer = `http://localhost:${port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "studio",
      client_secret: "secret-of-the-studio",
      redirect_uris: [redirect],
      grant_types: ["authorization_code", "refresh_token"],
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "preferred_username", "groups"] },
  cookies: { keys: ["only for tests"] },
  pkce: { required: () => true },
  issueRefreshToken: () => true,
  ttl: { AccessToken: 60, RefreshToken: 3600, IdToken: 60, Session: 3600, Grant: 3600, Interaction: 600 },
  findAccount: (context, subject) => {
    const claims = JSON.parse(readFileSync(accounts, "utf8"))[subject];
    if (!claims) return undefined;
    return { accountId: subject, claims: () => ({ sub: subject, preferred_username: subject, email_verified: true, ...claims }) };
  },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
