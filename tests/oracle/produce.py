"""Fills a topic with test records: deterministic for a seed, hostile on request.

modes
  json           flat and nested JSON records, all good
  malformed      the same with --bad of 1000 records broken (syntax, type, missing field, UTF-8, empty)
                 and as many with a member that the schema does not know, if --unknown is given
  transactional  transactions of --batch records, every third aborted
  compacted      a compacted topic: few keys, many versions, tombstones
  gaps           transactions that are all aborted between good ones: long holes of offsets
The records fit the schema that `produce.py --ddl` prints. Partitions from
--fill on stay empty. With --leave-open a transaction stays open at the end,
and the process alive, until its standard input closes. Prints one JSON line
(before it waits): acknowledged records per kind.
"""
import json
import random
import sys

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from lake import arguments

DDL = (
    "id BIGINT NOT NULL, name STRING, price DOUBLE, ok BOOLEAN, tags ARRAY<STRING>, "
    "actor STRUCT<id: BIGINT, login: STRING>, items ARRAY<STRUCT<sku: STRING, qty: INT>>"
)
NAMES = ["plain", "", "quote \" and \\ slash", "line\nbreak\ttab", "Ünïcödé 河流", "😀 astral", "x" * 70]
BROKEN = [
    lambda record: json.dumps(record).encode()[:-1],
    lambda record: json.dumps(record).encode() + b"x",
    lambda record: json.dumps(record | {"id": "not a number"}).encode(),
    lambda record: json.dumps({k: v for k, v in record.items() if k != "id"}).encode(),
    lambda record: json.dumps(record | {"id": None}).encode(),
    lambda record: json.dumps(record | {"actor": [1, 2]}).encode(),
    lambda record: b'{"id":1,"name":"\xff\xfe"}',
    lambda record: b"",
    lambda record: b"[1,2,3]",
    lambda record: b'{"id":9223372036854775808}',
    lambda record: b'{"id":1,,"ok":true}',
]


def record(choose, number):
    """One good record: nulls, missing members, escapes and big numbers included."""
    value = {
        "id": choose.choice([number, -number, 2**53 + number, 2**63 - 1 - number]),
        "name": choose.choice(NAMES + [None]),
        "price": choose.choice([0.1 * number, 1e300, -2.5e-7, float(number), None]),
        "ok": choose.choice([True, False, None]),
        "tags": choose.choice([[], ["a"], ["b", None, "c\u0000d"], None]),
        "actor": choose.choice([{"id": number, "login": f"user{number % 97}"}, {"login": None}, {}, None]),
        "items": choose.choice([[{"sku": f"s{number}", "qty": number % 10}, {"qty": None}], [None], [], None]),
    }
    for name in ("name", "price", "tags", "actor", "items"):
        if choose.random() < 0.05:
            del value[name]
    return value


class Topic:
    """A producer for one topic; the seed, not the client's hash, says which partition a record goes to."""

    def __init__(self, options):
        self.options = options
        self.choose = random.Random(options.seed)
        self.sent = {"good": 0, "bad": 0, "aborted": 0, "open": 0, "tombstones": 0, "unknown": 0}
        settings = {
            "bootstrap.servers": options.brokers,
            "compression.type": options.codec,
            "linger.ms": 5,
            "enable.idempotence": True,
            "queue.buffering.max.messages": 500_000,
        }
        if options.mode in ("transactional", "gaps") or options.leave_open:
            settings["transactional.id"] = f"produce-{options.topic}-{options.seed}"
            settings["transaction.timeout.ms"] = 600_000
        self.producer = Producer(settings)
        self.failed = []

    def send(self, kind, value, key=None):
        while True:
            try:
                self.producer.produce(
                    self.options.topic,
                    value,
                    key,
                    partition=self.choose.randrange(self.options.fill),
                    timestamp=1_700_000_000_000 + sum(self.sent.values()),
                    on_delivery=self.delivered,
                )
                break
            except BufferError:
                self.producer.poll(0.1)
        self.sent[kind] += 1
        self.producer.poll(0)

    def delivered(self, error, _message):
        # An aborted transaction purges what it had not sent: no failure.
        if error is not None and error.code() not in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT):
            self.failed.append(error)

    def flush(self):
        left = self.producer.flush(120)
        if left or self.failed:
            raise SystemExit(f"{left} records not acknowledged, {len(self.failed)} refused: {self.failed[:1]}")

    def good(self, number):
        return json.dumps(record(self.choose, number), ensure_ascii=number % 2 == 0).encode()


def create_topic(options):
    admin = AdminClient({"bootstrap.servers": options.brokers})
    config = {"retention.ms": "-1"}  # the records' times lie in the past
    if options.mode == "compacted":
        config |= {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "1000",
                   "delete.retention.ms": "600000"}
    created = admin.create_topics([NewTopic(options.topic, options.partitions, 1, config=config)])
    try:
        created[options.topic].result(60)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
    del admin  # it had to outlive its futures


def plain(topic, options):
    for number in range(options.records):
        chance = topic.choose.random() * 1000 if options.mode == "malformed" else 1000
        if chance < options.bad:
            topic.send("bad", topic.choose.choice(BROKEN)(record(topic.choose, number)), f"k{number}".encode())
        elif options.unknown and chance < 2 * options.bad:
            topic.send("unknown", json.dumps(record(topic.choose, number) | {"unknown": number}).encode())
        else:
            topic.send("good", topic.good(number), f"k{number % 1000}".encode())
    topic.flush()


def compacted(topic, options):
    for number in range(options.records):
        key = f"k{topic.choose.randrange(50)}".encode()
        if topic.choose.random() < 0.05:
            topic.send("tombstones", None, key)
        else:
            topic.send("good", topic.good(number), key)
        if number % 1000 == 999:
            topic.flush()
    topic.flush()


def transactions(topic, options):
    topic.producer.init_transactions(60)
    number = transaction = 0
    while number < options.records:
        topic.producer.begin_transaction()
        abort = transaction % 3 == 1 if options.mode == "transactional" else transaction % 10 != 0
        for number in range(number, min(number + options.batch, options.records)):
            topic.send("aborted" if abort else "good", topic.good(number))
        number += 1
        transaction += 1
        if abort:
            topic.producer.flush(60)  # else most aborted records would never reach the log
            topic.producer.abort_transaction(60)
        else:
            topic.producer.commit_transaction(60)
    topic.flush()


def open_transaction(topic, options):
    if options.mode not in ("transactional", "gaps"):
        topic.producer.init_transactions(60)
    topic.producer.begin_transaction()
    for number in range(options.batch):
        topic.send("open", topic.good(number))
    topic.flush()


def main():
    parser = arguments(__doc__)
    parser.add_argument("--ddl", action="store_true", help="print the schema of the records and end")
    parser.add_argument("--brokers", metavar="HOST:PORT")
    parser.add_argument("--topic")
    parser.add_argument("--mode", choices=["json", "malformed", "transactional", "compacted", "gaps"], default="json")
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--fill", type=int, help="use only the first so many partitions")
    parser.add_argument("--codec", choices=["none", "gzip", "snappy", "lz4", "zstd"], default="none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=100, help="records in a transaction")
    parser.add_argument("--bad", type=float, default=10, help="broken records in 1000, mode malformed")
    parser.add_argument("--unknown", action="store_true", help="also members that the schema does not know")
    parser.add_argument("--leave-open", action="store_true")
    options = parser.parse_args()
    if options.ddl:
        print(DDL)
        return 0
    if not options.brokers or not options.topic:
        parser.error("--brokers and --topic are required")
    options.fill = options.fill or options.partitions
    if options.leave_open and options.mode in ("json", "malformed", "compacted"):
        parser.error("--leave-open needs --mode transactional or gaps")

    create_topic(options)
    topic = Topic(options)
    {"transactional": transactions, "gaps": transactions, "compacted": compacted}.get(options.mode, plain)(topic, options)
    if options.leave_open:
        open_transaction(topic, options)
    print(json.dumps({"topic": options.topic} | topic.sent), flush=True)
    if options.leave_open:
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
