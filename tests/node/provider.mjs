// oidc-provider on a free loopback port. Prints its issuer; the line "rotate" on standard input changes its signing key.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import Provider from 'oidc-provider';

const [, , redirectUri, accessTtl = '3600'] = process.argv;

const nonceSecret = randomBytes(32);

const signingKey = () => ({
  ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
  kid: randomUUID(),
  use: 'sig',
  alg: 'RS256',
});

const provider = (issuer) => new Provider(issuer, {
  clients: [{
    client_id: 'session-lab',
    token_endpoint_auth_method: 'none',
    application_type: 'web',
    redirect_uris: [redirectUri],
    post_logout_redirect_uris: [new URL('/auth/signed-out', redirectUri).href],
    backchannel_logout_uri: new URL('/auth/backchannel-logout', redirectUri).href,
    backchannel_logout_session_required: true,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
  }],
  jwks: { keys: [signingKey()] },
  cookies: { keys: ['only for tests'] },
  features: {
    revocation: { enabled: true },
    devInteractions: { enabled: true },
    backchannelLogout: { enabled: true },
    dPoP: { enabled: true, nonceSecret, requireNonce: () => true },
  },
  pkce: { required: () => true },
  // Without its dispatcher, which refuses to call this very machine, where the app under test is.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  // Also where consent was not asked for anew: an app that is configured and no more cannot ask for it.
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  ttl: { AccessToken: Number(accessTtl), RefreshToken: 86400 },
  findAccount: (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
});

const server = createServer((request, response) => handle(request, response));
let handle;

server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const serve = () => { handle = provider(issuer).callback(); };
  serve();
  console.log(issuer);
  createInterface({ input: process.stdin }).on('line', (line) => {
    // The grants are kept by the library's storage, which every instance shares; only the keys are new.
    if (line === 'rotate') { serve(); console.log('rotated'); }
  }).on('close', () => process.exit(0));
});
