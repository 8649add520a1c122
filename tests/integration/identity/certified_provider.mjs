// `oidc-provider`, which is OpenID certified, as somebody's provider: port, redirect address and client come as arguments.
import { Provider } from 'oidc-provider';
import * as jose from 'jose';

const [port, redirectUri, listener] = process.argv.slice(2);
const logoutUri = new URL('/auth/back-channel-logout/idp', redirectUri).href;
const keys = [];
for (const [alg, crv] of [['RS256'], ['ES256']]) {
  const { privateKey } = await jose.generateKeyPair(alg, { extractable: true, crv });
  keys.push({ ...(await jose.exportJWK(privateKey)), alg, use: 'sig', kid: alg });
}
const client = (id, alg, more) => ({
  client_id: id, redirect_uris: [redirectUri], grant_types: ['authorization_code'], response_types: ['code'],
  id_token_signed_response_alg: alg, backchannel_logout_uri: logoutUri, backchannel_logout_session_required: true, ...more,
});
const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys },
  clients: [
    client('confidential', 'ES256', { client_secret: 'a secret: with/odd+signs', token_endpoint_auth_method: 'client_secret_basic' }),
    client('public', 'RS256', { token_endpoint_auth_method: 'none' }),
  ],
  pkce: { required: () => true },
  conformIdTokenClaims: false,
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], auth_time: null },
  features: {
    devInteractions: { enabled: true },
    pushedAuthorizationRequests: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true, logoutSource: (ctx, form) => { ctx.body = `<body>${form}</body>`; } },
  },
  // the app under test answers at another place than its public name says
  fetch: (url, options) => globalThis.fetch(String(url).replace(new URL(redirectUri).origin, listener), { ...options, dispatcher: undefined }),
  findAccount: async (_, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, email: `${id}@partner.example`, email_verified: true }),
  }),
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
