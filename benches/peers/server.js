// A receiver as a team would write it by hand: verify, store durably, delete the row and its children, answer.
// One process, one transaction a delivery. It keeps no search index, which is in its favour.
import { createHmac, timingSafeEqual } from "node:crypto";
import Database from "better-sqlite3";
import Fastify from "fastify";

const [file, secret] = process.argv.slice(2);
const db = new Database(file);
db.pragma("journal_mode = WAL");
db.pragma("synchronous = FULL");
db.pragma("cache_size = -65536");
db.exec("CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, at INTEGER NOT NULL, body BLOB NOT NULL)");

const store = db.prepare("INSERT INTO events (id, at, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING");
const find = db.prepare("SELECT id FROM listings WHERE board_id = ? AND mls_number = ? AND updated_at <= ?");
const deletions = ["images WHERE listing_id", "reviews WHERE listing_id", "listings WHERE id"].map((what) =>
  db.prepare(`DELETE FROM ${what} = ?`),
);
const take = db.transaction((event, body) => {
  if (store.run(event.id, Date.now(), body).changes === 0) return;
  const row = find.get(event.data.boardId, event.data.mlsNumber, event.timestamp);
  if (row) for (const deletion of deletions) deletion.run(row.id);
});

const app = Fastify();
app.removeAllContentTypeParsers();
app.addContentTypeParser("application/json", { parseAs: "buffer" }, (_, body, done) => done(null, body));
app.post("/hooks/:source", (request, reply) => {
  const signature = Buffer.from(String(request.headers["x-signature"] ?? ""), "hex");
  const expected = createHmac("sha256", secret).update(request.body).digest();
  if (signature.length !== expected.length || !timingSafeEqual(signature, expected)) {
    return reply.code(401).send({ error: "not authentic" });
  }
  const event = JSON.parse(request.body);
  if (event.event === "listing.deleted") take.immediate(event, request.body);
  return reply.code(202).send({ receipt: event.id });
});

// Told to the bench, which ends this process by closing its input.
await app.listen({ host: "127.0.0.1", port: 0 });
console.log(app.server.address().port);
process.stdin.on("end", () => process.exit()).resume();
