// The WebSocket to the server: comes back by itself, and matches answers with what was asked.

const AGAIN_MS = [300, 600, 1200, 2500];
const ANSWER_MS = 6000;

export class Connection {
  // handlers: {open, lost, rows(buffer), <type of a JSON frame>(message)}
  constructor(handlers) {
    this.handlers = handlers;
    this.tries = 0;
    this.id = 0;
    this.waiting = new Map();
    this.connect();
  }

  connect() {
    this.socket = new WebSocket(`ws://${location.host}/ws`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => { this.tries = 0; this.handlers.open(); };
    this.socket.onmessage = ({ data }) => this.take(data);
    this.socket.onclose = () => {
      for (const answer of this.waiting.values()) answer({ ok: false, reason: "connection lost" });
      this.waiting.clear();
      this.handlers.lost();
      setTimeout(() => this.connect(), AGAIN_MS[Math.min(this.tries++, AGAIN_MS.length - 1)]);
    };
  }

  take(data) {
    if (typeof data !== "string") { this.handlers.rows(data); return; }
    const message = JSON.parse(data);
    if (message.type === "result") {
      const answer = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      (answer ?? this.handlers.refused)(message);
    } else this.handlers[message.type]?.(message);
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  // Sets a parameter; the promise has {ok, reason}.
  set(node, parameter, value) {
    const id = ++this.id;
    return new Promise((resolve) => {
      if (this.socket.readyState !== WebSocket.OPEN) { resolve({ ok: false, reason: "connection lost" }); return; }
      this.waiting.set(id, resolve);
      setTimeout(() => {
        if (this.waiting.delete(id)) resolve({ ok: false, reason: "no answer" });
      }, ANSWER_MS);
      this.send({ type: "set", id, node, parameter, value });
    });
  }
}
