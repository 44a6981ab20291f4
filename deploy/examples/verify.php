<?php
// Verifies an assertion of drawbridge with the extensions openssl and sodium that come with PHP.
//
//   php verify.php https://gateway.internal/.drawbridge/jwks.json https://gateway.example.com orders < assertion
declare(strict_types=1);

final class Verifier
{
    /** Seconds by which the clocks of two machines may differ. */
    private const LEEWAY = 5;
    private array $keys = [];
    private int $fetched = 0;

    public function __construct(private string $url, private string $issuer, private string $audience)
    {
    }

    /** What the header X-Drawbridge-Assertion says. Throws if it says nothing that can be believed. */
    public function claims(string $assertion): array
    {
        $parts = explode('.', $assertion);
        if (count($parts) !== 3) {
            throw new UnexpectedValueException('not an assertion');
        }
        $header = self::json(self::decode($parts[0]));
        $key = $this->key((string) ($header['kid'] ?? ''));
        // What may be believed is for us and the key to say, never for the assertion itself.
        $fits = ($header['alg'] ?? null) === $key['alg'];
        if (!$fits || !self::verifies($key, "$parts[0].$parts[1]", self::decode($parts[2]))) {
            throw new UnexpectedValueException('not signed by the gateway');
        }
        $claims = self::json(self::decode($parts[1]));
        foreach (['iss' => $this->issuer, 'aud' => $this->audience] as $name => $expected) {
            if (($claims[$name] ?? null) !== $expected) {
                throw new UnexpectedValueException("$name is another one");
            }
        }
        if (!is_int($claims['exp'] ?? null) || time() >= $claims['exp'] + self::LEEWAY) {
            throw new UnexpectedValueException('over');
        }
        if (!is_int($claims['iat'] ?? null) || $claims['iat'] > time() + self::LEEWAY) {
            throw new UnexpectedValueException('of the future');
        }
        if (!is_string($claims['sub'] ?? null) || $claims['sub'] === '') {
            throw new UnexpectedValueException('about nobody');
        }
        return $claims;
    }

    /** PHP forgets everything after each request: keep the keys in APCu, or wherever you keep such things. */
    private function key(string $id): array
    {
        $age = time() - $this->fetched;
        if ($age > 300 || (!isset($this->keys[$id]) && $age > 10)) {
            $context = stream_context_create(['http' => ['timeout' => 5]]);
            $set = file_get_contents($this->url, false, $context, 0, 1 << 18);
            if ($set === false) {
                throw new RuntimeException('the keys cannot be had');
            }
            $this->keys = array_column(self::json($set)['keys'], null, 'kid');
            $this->fetched = time();
        }
        return $this->keys[$id] ?? throw new UnexpectedValueException('unknown key');
    }

    private static function verifies(array $key, string $message, string $signature): bool
    {
        if ($key['alg'] === 'EdDSA' && $key['crv'] === 'Ed25519') {
            return strlen($signature) === SODIUM_CRYPTO_SIGN_BYTES
                && sodium_crypto_sign_verify_detached($signature, $message, self::decode($key['x']));
        }
        if ($key['alg'] !== 'ES256' || $key['crv'] !== 'P-256' || strlen($signature) !== 64) {
            return false;
        }
        // OpenSSL wants the point in a SubjectPublicKeyInfo (RFC 5480), and both numbers in DER.
        $prefix = hex2bin('3059301306072a8648ce3d020106082a8648ce3d03010703420004');
        $point = self::decode($key['x']) . self::decode($key['y']);
        $pem = "-----BEGIN PUBLIC KEY-----\n" . base64_encode($prefix . $point) . "\n-----END PUBLIC KEY-----";
        $number = static function (string $bytes): string {
            $bytes = ltrim($bytes, "\0");
            $bytes = $bytes === '' || ord($bytes[0]) > 127 ? "\0$bytes" : $bytes;
            return "\x02" . chr(strlen($bytes)) . $bytes;
        };
        $both = $number(substr($signature, 0, 32)) . $number(substr($signature, 32));
        return openssl_verify($message, "\x30" . chr(strlen($both)) . $both, $pem, OPENSSL_ALGO_SHA256) === 1;
    }

    private static function decode(string $part): string
    {
        $bytes = base64_decode(strtr($part, '-_', '+/'), true);
        return $bytes === false ? throw new UnexpectedValueException('not base64url') : $bytes;
    }

    private static function json(string $text): array
    {
        $value = json_decode($text, true);
        return is_array($value) ? $value : throw new UnexpectedValueException('not an object');
    }
}

try {
    $verifier = new Verifier($argv[1], $argv[2], $argv[3]);
    echo json_encode($verifier->claims(trim(stream_get_contents(STDIN))), JSON_UNESCAPED_SLASHES), "\n";
} catch (UnexpectedValueException $refused) {
    fwrite(STDERR, "refused: {$refused->getMessage()}\n");
    exit(1);
}
