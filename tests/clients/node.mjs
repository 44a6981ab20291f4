// HTTP clients of Node.js: undici, and node:http for what undici has no words for. Prints what came of it as JSON.
//
//     node.mjs UNDICI PLAIN TLS CA TOKEN      where undici is installed, and addresses with ports
import { readFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import { Readable } from "node:stream";

const [folder, plain, tls, authority, token] = process.argv.slice(2);
const { Client, Pool, fetch, Agent } = createRequire(`${folder}/`)("undici");
const headers = { authorization: `Bearer ${token}` };
const ca = readFileSync(authority);
const MIB = 1 << 20;

async function* pieces(count) {
  for (let sent = 0; sent < count; sent += 1) yield Buffer.alloc(MIB, "x");
}

async function text(answer) {
  return { status: answer.statusCode, ...JSON.parse(await answer.body.text()) };
}

async function pipelined() {
  const client = new Client(`http://${plain}`, { pipelining: 10 });
  const asked = Array.from({ length: 100 }, (_, number) => client.request({ method: "GET", path: `/orders/${number}`, headers }).then(text));
  const answers = await Promise.all(asked);
  const uploaded = await client.request({ method: "POST", path: "/orders", headers, body: Readable.from(pieces(5)) }).then(text);
  const announced = await client.request({ method: "PUT", path: "/orders", headers, body: Buffer.alloc(3 * MIB) }).then(text);
  const big = await client.request({ method: "GET", path: "/public/big" }).then((answer) => answer.body.arrayBuffer());
  const trailing = await client.request({ method: "GET", path: "/public/trailing" });
  const body = await trailing.body.text();
  const refused = await client.request({ method: "GET", path: "/orders" });
  await refused.body.dump();
  const head = await client.request({ method: "HEAD", path: "/orders", headers });
  await head.body.dump();
  const answer = {
    inOrder: answers.every((one, number) => one.status === 200 && one.target === `/orders/${number}` && one.user === "alice"),
    uploaded: uploaded.length,
    announced: announced.length,
    downloaded: big.byteLength,
    body,
    trailers: trailing.trailers,
    refused: refused.statusCode,
    head: head.statusCode,
  };
  await client.close();
  return answer;
}

async function overTls(allowH2) {
  const pool = new Pool(`https://${tls}`, { connections: allowH2 ? 1 : 10, allowH2, connect: { ca } });
  const asked = Array.from({ length: 100 }, (_, number) => pool.request({ method: "GET", path: `/orders/${number}`, headers }).then(text));
  const answers = await Promise.all(asked);
  const uploaded = await pool.request({ method: "POST", path: "/orders", headers, body: Readable.from(pieces(2)) }).then(text);
  const refused = await pool.request({ method: "GET", path: "/users", headers });
  await refused.body.dump();
  const big = await pool.request({ method: "GET", path: "/public/big" });
  const answer = {
    right: answers.every((one, number) => one.status === 200 && one.target === `/orders/${number}`),
    uploaded: uploaded.length,
    refused: refused.statusCode,
    downloaded: (await big.body.arrayBuffer()).byteLength,
  };
  await pool.close();
  return answer;
}

async function fetched() {
  const dispatcher = new Agent({ connect: { ca }, allowH2: true });
  const answer = await fetch(`https://${tls}/orders/fetch?a=b`, { headers, dispatcher });
  const { target } = await answer.json();
  const refused = await fetch(`https://${tls}/orders`, { dispatcher });
  return { target, status: answer.status, refused: refused.status, code: (await refused.json()).code };
}

// The body goes out after the 100, and has trailers.
function patient(path, extra) {
  return new Promise((resolve, reject) => {
    const [host, port] = plain.split(":");
    const heard = [];
    const request = http.request({ host, port, path, method: "POST", headers: { ...extra, expect: "100-continue", "transfer-encoding": "chunked", trailer: "x-sum" } });
    request.on("continue", () => {
      heard.push(100);
      request.write("one ");
      request.addTrailers({ "x-sum": "7" });
      request.end("two");
    });
    request.on("response", (answer) => {
      heard.push(answer.statusCode);
      answer.resume();
      answer.on("end", () => {
        request.destroy();
        resolve(heard);
      });
    });
    request.on("error", reject);
    request.flushHeaders();
  });
}

console.log(
  JSON.stringify({
    pipelined: await pipelined(),
    h1: await overTls(false),
    h2: await overTls(true),
    fetched: await fetched(),
    patient: await patient("/orders", headers),
    impatient: await patient("/orders", {}),
  }),
);
