// Sessions as Laravel and lua-resty-session write them, made of nothing but their documentation and node's own crypto: neither
// runs here. Arguments: what to make, and JSON with its settings. Prints JSON.
const crypto = require("crypto");

const [kind, text] = process.argv.slice(2);
const settings = JSON.parse(text);
const makers = { laravel, resty };
console.log(JSON.stringify(makers[kind](settings)));

// Illuminate\Encryption\Encrypter and Illuminate\Cookie\CookieValuePrefix.
function laravel({ key, cookie, id, session, cipher = "cbc" }) {
  const secret = Buffer.from(key.replace("base64:", ""), "base64");
  const mark = crypto.createHmac("sha1", secret).update(cookie + "v2").digest("hex");
  const plain = `${mark}|${id}`;
  const iv = crypto.randomBytes(cipher === "cbc" ? 16 : 12);
  const aes = crypto.createCipheriv(`aes-256-${cipher}`, secret, iv);
  const value = Buffer.concat([aes.update(plain, "utf8"), aes.final()]).toString("base64");
  const envelope = { iv: iv.toString("base64"), value, mac: "", tag: "" };
  if (cipher === "cbc") {
    envelope.mac = crypto.createHmac("sha256", secret).update(envelope.iv + value).digest("hex");
  } else {
    envelope.tag = aes.getAuthTag().toString("base64");
  }
  const json = JSON.stringify(session);
  return {
    cookie: encodeURIComponent(Buffer.from(JSON.stringify(envelope)).toString("base64")),
    value: `s:${Buffer.byteLength(json)}:"${json}";`,
  };
}

// The cookie of lua-resty-session 4, and what its redis storage holds. Times are Unix seconds.
function resty({ secret, created, rolled = 0, idled = 0, data, deflate = false, stored = true, hashed = false }) {
  const ikm = crypto.createHash("sha256").update(secret).digest();
  const id = crypto.randomBytes(32);
  const derive = (purpose, length) =>
    Buffer.from(crypto.hkdfSync("sha256", ikm, Buffer.alloc(0), Buffer.concat([Buffer.from(purpose), id]), length));
  const little = (number, length) => {
    const bytes = Buffer.alloc(length);
    bytes.writeUIntLE(number, 0, length);
    return bytes;
  };
  let plain = Buffer.from(JSON.stringify(data));
  if (deflate) plain = require("zlib").deflateRawSync(plain);
  const flags = (stored ? 1 : 0) | (deflate ? 0x10 : 0);
  const size = Math.ceil(plain.length * 4 / 3);
  const head = Buffer.concat([little(1, 1), little(flags, 2), id, little(created, 5), little(rolled, 4), little(size, 3)]);
  const keys = derive("encryption:", 44);
  const aes = crypto.createCipheriv("aes-256-gcm", keys.subarray(0, 32), keys.subarray(32));
  aes.setAAD(head);
  const encrypted = Buffer.concat([aes.update(plain), aes.final()]);
  const signed = Buffer.concat([head, aes.getAuthTag(), little(idled, 3)]);
  const mac = crypto.createHmac("sha256", derive("authentication:", 32)).update(signed).digest().subarray(0, 16);
  const name = hashed ? crypto.createHash("sha256").update(id).digest() : id;
  return {
    cookie: Buffer.concat([signed, mac]).toString("base64url"),
    key: name.toString("base64url"),
    value: JSON.stringify([encrypted.toString("base64url")]),
  };
}
