"""Verifies an assertion of drawbridge with PyJWT (pip install "PyJWT[crypto]").

    python verify.py https://gateway.internal/.drawbridge/jwks.json https://gateway.example.com orders < assertion
"""

import json
import sys

import jwt


class Verifier:
    def __init__(self, jwks_url: str, issuer: str, audience: str):
        self.issuer, self.audience = issuer, audience
        # Keeps the keys for five minutes, and asks again at once when one is named that it does not have.
        self.keys = jwt.PyJWKClient(jwks_url, lifespan=300, timeout=5)

    def claims(self, assertion: str) -> dict:
        """What the header X-Drawbridge-Assertion says. Raises jwt.PyJWTError if it says nothing that can be believed."""
        return jwt.decode(
            assertion,
            self.keys.get_signing_key_from_jwt(assertion),
            # What may be believed is for us to say, never for the assertion itself.
            algorithms=["ES256", "EdDSA"],
            issuer=self.issuer,
            audience=self.audience,
            # Seconds by which the clocks of two machines may differ.
            leeway=5,
            options={"require": ["iss", "aud", "exp", "iat", "sub"]},
        )


if __name__ == "__main__":
    try:
        print(json.dumps(Verifier(*sys.argv[1:4]).claims(sys.stdin.read().strip())))
    except jwt.PyJWTError as error:
        sys.exit(f"refused: {error}")
