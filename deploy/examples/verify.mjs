// Verifies an assertion of drawbridge with jose (npm install jose).
//
//   node verify.mjs https://gateway.internal/.drawbridge/jwks.json https://gateway.example.com orders < assertion

import { readFileSync } from 'node:fs';
import { createRemoteJWKSet, errors, jwtVerify } from 'jose';

export function verifier(jwksUrl, issuer, audience) {
  // Keeps the keys, and asks again when one is named that it does not have, though not more often than every 30 s.
  const keys = createRemoteJWKSet(new URL(jwksUrl), { timeoutDuration: 5000 });
  // What the header X-Drawbridge-Assertion says. Throws if it says nothing that can be believed.
  return async (assertion) => {
    const { payload } = await jwtVerify(assertion, keys, {
      // What may be believed is for us to say, never for the assertion itself.
      algorithms: ['ES256', 'EdDSA'],
      issuer,
      audience,
      // Seconds by which the clocks of two machines may differ.
      clockTolerance: 5,
      requiredClaims: ['iss', 'aud', 'exp', 'iat', 'sub'],
    });
    return payload;
  };
}

const [jwksUrl, issuer, audience] = process.argv.slice(2);
try {
  const claims = await verifier(jwksUrl, issuer, audience)(readFileSync(0, 'utf8').trim());
  console.log(JSON.stringify(claims));
} catch (error) {
  if (!(error instanceof errors.JOSEError)) throw error;
  console.error(`refused: ${error.message}`);
  process.exitCode = 1;
}
