"""Produces into a topic until its standard input closes, whatever becomes of the broker.

A plain producer, and with --transactional a second one whose every third
transaction is aborted. A producer that the broker gives up is replaced by a
new one: what was delivered twice that way are two records. Broken records
are --bad of 1000. A line `partitions N` on standard input makes it use N
partitions. Prints one JSON line at the end: records handed over, by kind.
"""
import json
import random
import sys
import threading
import time

from confluent_kafka import KafkaException, Producer

from lake import arguments

DDL = "id BIGINT NOT NULL, name STRING, price DOUBLE, ok BOOLEAN"
NAMES = ["plain", "", "quote \\\" and \\\\ slash", "line\\nbreak", "Ünïcödé 河流", "😀", "x" * 70]
BROKEN = [b"{", b"[]", b"", b'{"name":"no id"}', b'{"id":"text"}', b'{"id":1,"name":"\xff"}', b'{"id":1.5}']
TICK_SECONDS = 0.02
END_SECONDS = 60


def value(choose, number):
    """Flat JSON, by hand: json.dumps would be most of the load."""
    kind = number % 4
    if kind == 0:
        return b'{"id":%d}' % number
    name = NAMES[choose.randrange(len(NAMES))]
    if kind == 1:
        return f'{{"ok":false,"price":{number / 8},"name":null,"id":-{number}}}'.encode()
    return f'{{"id":{number},"name":"{name}","price":-{number / 8},"ok":true}}'.encode()


class Load:
    def __init__(self, options):
        self.options, self.partitions = options, options.partitions
        self.stop = threading.Event()
        self.sent = dict.fromkeys(["good", "bad", "in transactions", "aborted", "producers"], 0)

    def settings(self, **more):
        return {"bootstrap.servers": self.options.brokers, "enable.idempotence": True, "linger.ms": 5,
                "compression.type": "lz4", "message.timeout.ms": 60_000, "reconnect.backoff.max.ms": 500,
                "queue.buffering.max.messages": 200_000, "log_level": 0} | more

    def ticks(self, rate):
        """How many records are due now, again and again."""
        began, done = time.monotonic(), 0
        while not self.stop.wait(TICK_SECONDS):
            due = int((time.monotonic() - began) * rate) - done
            # After a pause the broker is not flooded.
            yield min(due, int(rate))
            done += due

    def plain(self):
        choose = random.Random(self.options.seed)
        number, producer = 0, self.fresh()
        for due in self.ticks(self.options.rate):
            try:
                for _ in range(due):
                    number += 1
                    bad = choose.random() * 1000 < self.options.bad
                    text = choose.choice(BROKEN) if bad else value(choose, number)
                    producer.produce(self.options.topic, text, partition=choose.randrange(self.partitions))
                    self.sent["bad" if bad else "good"] += 1
            except BufferError:
                pass  # the broker is away: less is produced
            except KafkaException:
                producer = self.fresh()
            producer.poll(0)
        producer.flush(END_SECONDS)

    def fresh(self, **more):
        self.sent["producers"] += 1
        return Producer(self.settings(error_cb=lambda _: None, **more))

    def transactional(self):
        choose = random.Random(self.options.seed + 1)
        number = 1_000_000_000
        while not self.stop.is_set():
            name = f"torture-{self.options.topic}-{self.sent['producers']}"
            producer = self.fresh(**{"transactional.id": name, "transaction.timeout.ms": 10_000,
                                     "message.timeout.ms": 10_000})
            try:
                producer.init_transactions(30)
                while not self.stop.wait(0.05):
                    number = self.one_transaction(producer, choose, number)
            except (KafkaException, BufferError):
                time.sleep(0.5)

    def one_transaction(self, producer, choose, number):
        producer.begin_transaction()
        abort = choose.random() < 0.33
        for number in range(number + 1, number + 1 + choose.randrange(1, 60)):
            producer.produce(self.options.topic, value(choose, number), partition=choose.randrange(self.partitions))
            self.sent["aborted" if abort else "in transactions"] += 1
        if abort:
            producer.flush(10)  # else most aborted records would never reach the log
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
        return number

    def close(self):
        """A last record for each partition: a tail of markers alone is committed later than its rows."""
        producer = self.fresh()
        for partition in range(self.partitions):
            producer.produce(self.options.topic, b'{"id":0}', partition=partition)
        self.sent["good"] += self.partitions
        producer.flush(END_SECONDS)

    def listen(self):
        for line in sys.stdin:
            word, _, count = line.partition(" ")
            if word == "partitions":
                self.partitions = int(count)
        self.stop.set()


def main():
    parser = arguments(__doc__)
    parser.add_argument("--brokers", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="records a second")
    parser.add_argument("--bad", type=float, default=0)
    parser.add_argument("--transactional", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    load = Load(parser.parse_args())
    threads = [threading.Thread(target=load.plain)]
    if load.options.transactional:
        threads.append(threading.Thread(target=load.transactional))
    for thread in threads:
        thread.start()
    load.listen()
    for thread in threads:
        thread.join()
    load.close()
    print(json.dumps({"topic": load.options.topic} | load.sent), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
