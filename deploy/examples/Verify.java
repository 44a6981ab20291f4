// Verifies an assertion of drawbridge with nothing but the JDK (17 or later).
//
//   java Verify.java https://gateway.internal/.drawbridge/jwks.json https://gateway.example.com orders < assertion
//
// The JDK has no reader of JSON; yours does, and replaces the class Json below.

import java.math.BigInteger;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.AlgorithmParameters;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.ECPublicKeySpec;
import java.security.spec.EdECPoint;
import java.security.spec.EdECPublicKeySpec;
import java.security.spec.NamedParameterSpec;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

public final class Verify {
    /** Seconds by which the clocks of two machines may differ. */
    private static final long LEEWAY = 5;

    /** The assertion says nothing that can be believed. */
    public static final class Refused extends Exception {
        Refused(String why) {
            super(why);
        }
    }

    private record Key(String algorithm, PublicKey key) {}

    private final HttpClient http = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();
    private final URI url;
    private final String issuer;
    private final String audience;
    private Map<String, Key> keys = Map.of();
    private Instant fetched = Instant.EPOCH;

    public Verify(String url, String issuer, String audience) {
        this.url = URI.create(url);
        this.issuer = issuer;
        this.audience = audience;
    }

    /** What the header X-Drawbridge-Assertion says. */
    public Map<?, ?> claims(String assertion) throws Exception {
        String[] parts = assertion.split("\\.", -1);
        if (parts.length != 3) throw new Refused("not an assertion");
        Map<?, ?> header = Json.object(text(parts[0]));
        Key key = key(String.valueOf(header.get("kid")));
        // What may be believed is for us and the key to say, never for the assertion itself.
        if (!key.algorithm.equals(header.get("alg"))) throw new Refused("signed in another way");
        boolean es256 = key.algorithm.equals("ES256");
        Signature verifier = Signature.getInstance(es256 ? "SHA256withECDSAinP1363Format" : "Ed25519");
        verifier.initVerify(key.key);
        verifier.update((parts[0] + "." + parts[1]).getBytes(StandardCharsets.US_ASCII));
        if (!signed(verifier, bytes(parts[2]))) throw new Refused("not signed by the gateway");
        Map<?, ?> claims = Json.object(text(parts[1]));
        long now = Instant.now().getEpochSecond();
        if (!issuer.equals(claims.get("iss"))) throw new Refused("of somebody else");
        if (!audience.equals(claims.get("aud"))) throw new Refused("for somebody else");
        if (!(claims.get("exp") instanceof Long end) || now >= end + LEEWAY) throw new Refused("over");
        if (!(claims.get("iat") instanceof Long begin) || begin > now + LEEWAY) throw new Refused("of the future");
        if (!(claims.get("sub") instanceof String sub) || sub.isEmpty()) throw new Refused("about nobody");
        return claims;
    }

    private static boolean signed(Signature verifier, byte[] signature) {
        try {
            return verifier.verify(signature);
        } catch (GeneralSecurityException malformed) {
            return false;
        }
    }

    private synchronized Key key(String id) throws Exception {
        Duration age = Duration.between(fetched, Instant.now());
        boolean old = age.compareTo(Duration.ofMinutes(5)) > 0;
        // Anybody can name a key that there is not: it is asked for again, but not as often as they like.
        if (old || (!keys.containsKey(id) && age.compareTo(Duration.ofSeconds(10)) > 0)) fetch();
        Key key = keys.get(id);
        if (key == null) throw new Refused("unknown key");
        return key;
    }

    private void fetch() throws Exception {
        HttpRequest request = HttpRequest.newBuilder(url).timeout(Duration.ofSeconds(5)).build();
        var answer = http.send(request, BodyHandlers.ofString());
        if (answer.statusCode() != 200) throw new IllegalStateException("HTTP " + answer.statusCode());
        Map<String, Key> found = new HashMap<>();
        for (Object one : (List<?>) Json.object(answer.body()).get("keys")) {
            Map<?, ?> key = (Map<?, ?>) one;
            String algorithm = (String) key.get("alg");
            if ("ES256".equals(algorithm)) found.put((String) key.get("kid"), new Key(algorithm, p256(key)));
            if ("EdDSA".equals(algorithm)) found.put((String) key.get("kid"), new Key(algorithm, ed25519(key)));
        }
        keys = found;
        fetched = Instant.now();
    }

    private static PublicKey p256(Map<?, ?> key) throws Exception {
        AlgorithmParameters curve = AlgorithmParameters.getInstance("EC");
        curve.init(new ECGenParameterSpec("secp256r1"));
        ECPoint point = new ECPoint(new BigInteger(1, bytes(key.get("x"))), new BigInteger(1, bytes(key.get("y"))));
        var spec = new ECPublicKeySpec(point, curve.getParameterSpec(ECParameterSpec.class));
        return KeyFactory.getInstance("EC").generatePublic(spec);
    }

    /** RFC 8032 section 5.1.2: the lowest byte first, and the sign of x in the highest bit. */
    private static PublicKey ed25519(Map<?, ?> key) throws Exception {
        byte[] bytes = bytes(key.get("x"));
        byte[] y = new byte[bytes.length];
        for (int i = 0; i < y.length; i++) y[i] = bytes[bytes.length - 1 - i];
        boolean odd = y[0] < 0;
        y[0] &= 0x7f;
        var spec = new EdECPublicKeySpec(NamedParameterSpec.ED25519, new EdECPoint(odd, new BigInteger(1, y)));
        return KeyFactory.getInstance("Ed25519").generatePublic(spec);
    }

    private static byte[] bytes(Object part) throws Refused {
        try {
            return Base64.getUrlDecoder().decode((String) part);
        } catch (IllegalArgumentException malformed) {
            throw new Refused("not base64url");
        }
    }

    private static String text(String part) throws Refused {
        return new String(bytes(part), StandardCharsets.UTF_8);
    }

    /** Objects become maps, lists lists, whole numbers Long. */
    private static final class Json {
        private final String text;
        private int at;

        private Json(String text) {
            this.text = text;
        }

        static Map<?, ?> object(String text) throws Refused {
            try {
                Json json = new Json(text);
                Object value = json.value(0);
                if (value instanceof Map<?, ?> map && json.next() == 0) return map;
            } catch (RuntimeException malformed) {
                // Told below.
            }
            throw new Refused("not a JSON object");
        }

        private char next() {
            while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
            return at < text.length() ? text.charAt(at) : 0;
        }

        private boolean take(char wanted) {
            if (next() != wanted) return false;
            at++;
            return true;
        }

        private void need(boolean found) {
            if (!found) throw new IllegalArgumentException();
        }

        private Object value(int depth) {
            need(depth < 16);
            if (take('{')) {
                Map<String, Object> map = new HashMap<>();
                while (!take('}')) {
                    need(map.isEmpty() || take(','));
                    need(take('"'));
                    String name = string();
                    need(take(':'));
                    need(map.put(name, value(depth + 1)) == null);
                }
                return map;
            }
            if (take('[')) {
                List<Object> list = new ArrayList<>();
                while (!take(']')) {
                    need(list.isEmpty() || take(','));
                    list.add(value(depth + 1));
                }
                return list;
            }
            if (take('"')) return string();
            int from = at;
            while (at < text.length() && "truefalsn+-.0123456789E".indexOf(text.charAt(at)) >= 0) at++;
            String word = text.substring(from, at);
            return switch (word) {
                case "true", "false" -> Boolean.valueOf(word);
                case "null" -> "";
                default -> word.matches("-?\\d+") ? (Object) Long.valueOf(word) : (Object) Double.valueOf(word);
            };
        }

        private String string() {
            StringBuilder out = new StringBuilder();
            while (text.charAt(at) != '"') {
                char c = text.charAt(at++);
                if (c == '\\') {
                    c = text.charAt(at++);
                    int which = "nrtbf".indexOf(c);
                    if (c == 'u') {
                        c = (char) Integer.parseInt(text.substring(at, at + 4), 16);
                        at += 4;
                    } else if (which >= 0) {
                        c = "\n\r\t\b\f".charAt(which);
                    }
                }
                out.append(c);
            }
            at++;
            return out.toString();
        }
    }

    public static void main(String[] args) throws Exception {
        String assertion = new String(System.in.readAllBytes(), StandardCharsets.US_ASCII).trim();
        try {
            Map<?, ?> claims = new Verify(args[0], args[1], args[2]).claims(assertion);
            System.out.println(claims.get("sub") + " " + claims.get("permissions"));
        } catch (Refused refused) {
            System.err.println("refused: " + refused.getMessage());
            System.exit(1);
        }
    }
}
