// Verifies an assertion of drawbridge with nothing but the standard library.
//
//	go run verify.go https://gateway.internal/.drawbridge/jwks.json https://gateway.example.com orders < assertion
package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"strings"
	"time"
)

// Seconds by which the clocks of two machines may differ.
const leeway = 5

// Claims is what the header X-Drawbridge-Assertion says.
type Claims struct {
	Issuer      string   `json:"iss"`
	Audience    string   `json:"aud"`
	Subject     string   `json:"sub"`
	Session     string   `json:"sid"`
	Permissions []string `json:"permissions"`
	Roles       []string `json:"roles"`
	IssuedAt    int64    `json:"iat"`
	Expires     int64    `json:"exp"`
}

type key struct{ Kty, Crv, Kid, Alg, X, Y string }

// Verifier believes one gateway. Not for several goroutines at once.
type Verifier struct {
	URL, Issuer, Audience string
	keys                  map[string]key
	fetched               time.Time
}

// Claims returns what the assertion says, or an error if it says nothing that can be believed.
func (v *Verifier) Claims(assertion string) (*Claims, error) {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return nil, errors.New("not an assertion")
	}
	var header struct{ Alg, Kid string }
	if err := decode(parts[0], &header); err != nil {
		return nil, err
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil {
		return nil, err
	}
	k, err := v.key(header.Kid)
	if err != nil {
		return nil, err
	}
	// What may be believed is for us and the key to say, never for the assertion itself.
	if header.Alg != k.Alg || !k.verifies([]byte(parts[0]+"."+parts[1]), signature) {
		return nil, errors.New("not signed by the gateway")
	}
	var claims Claims
	if err := decode(parts[1], &claims); err != nil {
		return nil, err
	}
	now := time.Now().Unix()
	switch {
	case claims.Issuer != v.Issuer:
		return nil, errors.New("of somebody else")
	case claims.Audience != v.Audience:
		return nil, errors.New("for somebody else")
	case now >= claims.Expires+leeway:
		return nil, errors.New("over")
	case claims.IssuedAt > now+leeway:
		return nil, errors.New("of the future")
	case claims.Subject == "":
		return nil, errors.New("about nobody")
	}
	return &claims, nil
}

func (v *Verifier) key(id string) (key, error) {
	age := time.Since(v.fetched)
	k, known := v.keys[id]
	// Anybody can name a key that there is not: it is asked for again, but not as often as they like.
	if age > 5*time.Minute || (!known && age > 10*time.Second) {
		if err := v.fetch(); err != nil {
			return key{}, err
		}
		k, known = v.keys[id]
	}
	if !known {
		return key{}, errors.New("unknown key")
	}
	return k, nil
}

func (v *Verifier) fetch() error {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(v.URL)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	var set struct{ Keys []key }
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<18)).Decode(&set); err != nil {
		return err
	}
	v.keys, v.fetched = map[string]key{}, time.Now()
	for _, k := range set.Keys {
		v.keys[k.Kid] = k
	}
	return nil
}

func (k key) verifies(message, signature []byte) bool {
	x, err := base64.RawURLEncoding.DecodeString(k.X)
	if err != nil {
		return false
	}
	switch {
	case k.Alg == "EdDSA" && k.Crv == "Ed25519" && len(x) == ed25519.PublicKeySize:
		return ed25519.Verify(x, message, signature)
	case k.Alg == "ES256" && k.Crv == "P-256" && len(signature) == 64:
		y, err := base64.RawURLEncoding.DecodeString(k.Y)
		if err != nil {
			return false
		}
		number := func(bytes []byte) *big.Int { return new(big.Int).SetBytes(bytes) }
		public := ecdsa.PublicKey{Curve: elliptic.P256(), X: number(x), Y: number(y)}
		hash := sha256.Sum256(message)
		return ecdsa.Verify(&public, hash[:], number(signature[:32]), number(signature[32:]))
	}
	return false
}

func decode(part string, into any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func main() {
	assertion, _ := io.ReadAll(os.Stdin)
	verifier := Verifier{URL: os.Args[1], Issuer: os.Args[2], Audience: os.Args[3]}
	claims, err := verifier.Claims(strings.TrimSpace(string(assertion)))
	if err != nil {
		fmt.Fprintln(os.Stderr, "refused:", err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(claims)
}
