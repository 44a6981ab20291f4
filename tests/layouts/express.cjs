// An application of express-session and connect-redis. Arguments: URL of Redis, JSON with `secret`, `prefix`, `cookie` and
// `cluster`.
// Prints its port.
const express = require("express");
const session = require("express-session");
const { RedisStore } = require("connect-redis");
const { createClient, createCluster } = require("redis");

const [url, text] = process.argv.slice(2);
const { secret, prefix = "sess:", cookie = {}, cluster = false } = JSON.parse(text);
const client = cluster ? createCluster({ rootNodes: [{ url }] }) : createClient({ url });
const app = express();
app.use(session({
  store: new RedisStore({ client, prefix }), secret, cookie, resave: false, saveUninitialized: true,
}));
// As Passport does: another session after the login than before.
app.post("/login", (request, reply, next) => request.session.regenerate((error) => {
  if (error) return next(error);
  const { user, permissions, roles, device = "d-1" } = request.query;
  request.session.passport = { user };
  if (permissions) request.session.permissions = permissions.split(",");
  if (roles) request.session.roles = roles.split(",");
  request.session.device = { id: device, type: "phone" };
  reply.end(request.sessionID);
}));
app.post("/logout", (request, reply, next) => request.session.destroy((error) => error ? next(error) : reply.end()));
app.get("/visit", (request, reply) => reply.json(request.session.passport ?? null));
client.connect().then(() => {
  const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
});
