"""An application of Flask-Session and Flask. Arguments: URL of Redis, JSON with settings of Flask. Prints its port."""

import json
import sys

from flask import Flask, request, session
from flask_session import Session
from redis import Redis
from werkzeug.serving import make_server

app = Flask(__name__)
app.config.update(
    SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(sys.argv[1])
)
app.config.update(json.loads(sys.argv[2]))
Session(app)


@app.post("/login")
def login():
    app.session_interface.regenerate(session)
    # As Flask-Login does.
    session["_user_id"] = request.args["user"]
    for name in ("permissions", "roles"):
        if name in request.args:
            session[name] = request.args[name].split(",")
    session["device"] = {"id": "d-1", "type": "phone"}
    return session.sid


@app.post("/logout")
def logout():
    session.clear()
    return ""


@app.get("/visit")
def visit():
    session["seen"] = True
    return session.get("_user_id", "")


server = make_server("127.0.0.1", 0, app)
print(server.port, flush=True)
server.serve_forever()
