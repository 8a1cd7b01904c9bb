"""What somebody with the package `pyfaktory` sees of beaver: `python scenarios.py NAME` ends with exit code 0 if the
server at FAKTORY_URL, which is new and empty, does what the client's documentation lets people hope for."""

import itertools
import logging
import os
import sys
import threading
import uuid
from datetime import datetime, timedelta, timezone

from pyfaktory import (
    Client,
    Cmd,
    Consumer,
    FaktroyWorkProtocolError,
    Job,
    JobFilter,
    MutateOperation,
    Producer,
    Target,
)

OUTPUT = threading.Lock()


def say(*words):
    """For whoever started this; the words are in `script.rs`."""
    with OUTPUT:
        print(*words, flush=True)


def equal(found, expected, what=""):
    assert found == expected, f"{what}: {found!r} is not {expected!r}"


def refused(call, text):
    try:
        call()
    except FaktroyWorkProtocolError as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"{text!r} was expected")


def both(name):
    # The process ends when the heartbeat has slept its last.
    return Client(role="both", worker_id=f"python-{name}", beat_period=0.5)


def expect_sets(client, **expected):
    faktory = client.info()["faktory"]
    for name, size in expected.items():
        equal(faktory["sets"][name], size, name)
        equal(faktory["tasks"][name.capitalize()]["size"], size, name)


def working(client):
    return client.info()["faktory"]["sets"]["working"]


def is_time(text):
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    assert abs(datetime.now(timezone.utc) - time) < timedelta(minutes=1), text


def in_an_hour():
    return (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()


def fetched(client, *queues):
    job = client._fetch(list(queues))
    assert job, f"a job of {queues}"
    return job


def mutate(client, cmd, target, jids=None, regexp=None, jobtype=None):
    job_filter = JobFilter(jids=jids, regexp=regexp, jobtype=jobtype)
    assert client.mutate(MutateOperation(cmd=cmd, target=target, filter=job_filter))


def jobs():
    with both("jobs") as client:
        producer = Producer(client)

        # What was pushed comes back as it was.
        args = [1, -2.5, {"deep": ["ü€😀", "a\r\nb", None, True]}, []]
        job = Job(jobtype="sum", args=args, queue="math", reserve_for=120, retry=3, backtrace=7, custom={"a": [1]})
        assert producer.push(job)
        seen = fetched(client, "math")
        for name in ["jid", "jobtype", "queue", "args", "reserve_for", "retry", "backtrace", "custom"]:
            equal(seen[name], getattr(job, name), name)
        assert "failure" not in seen, seen
        is_time(seen["created_at"])
        is_time(seen["enqueued_at"])
        equal(working(client), 1)
        assert client._ack(job.jid)
        equal(working(client), 0)
        assert client._ack(job.jid), "an ACK whose answer was lost may be sent again"

        # Queues in the order of the FETCH, jobs in the order in which they came.
        for name, queue in [("first", "low"), ("second", "high"), ("third", "high")]:
            producer.push(Job(jobtype=name, args=[], queue=queue))
        for name in ["second", "third", "first"]:
            job = fetched(client, "high", "low")
            equal(job["jobtype"], name)
            client._ack(job["jid"])

        # Many at once: the good ones are in, the others come back with the reason.
        equal(producer.push_bulk([Job(jobtype="one", args=[n], queue="bulk") for n in range(500)]), {})
        bad = Job(jid="short", jobtype="one", args=[], queue="bulk")
        rejected = producer.push_bulk([bad, Job(jobtype="one", args=[500], queue="bulk")])
        equal(list(rejected), ["short"])
        assert "jid" in rejected["short"], rejected
        faktory = client.info()["faktory"]
        equal(faktory["queues"]["bulk"], 501)
        equal(faktory["queues"]["math"], 0)
        equal(faktory["total_enqueued"], 501)
        equal(faktory["total_processed"], 4)
        refused(lambda: producer.push(Job(jobtype="one", args=[], queue="no such name")), "ERR")

        # Later, and what was due long ago.
        producer.push(Job(jobtype="later", args=[], queue="later", at=in_an_hour()))
        expect_sets(client, scheduled=1)
        equal(client._fetch(["later"]), None, "it is not due, and an empty queue is answered all the same")
        producer.push(Job(jobtype="overdue", args=[], queue="later", at="2001-01-01T00:00:00.123+02:00"))
        overdue = fetched(client, "later")
        equal(overdue["jobtype"], "overdue")
        client._ack(overdue["jid"])

        client._flush()
        expect_sets(client, scheduled=0)
        equal(client.info()["faktory"]["total_enqueued"], 0)


def failures():
    with both("failures") as client:
        producer = Producer(client)

        def fail(jid):
            backtrace = [f'  File "a.py", line {n}\n    f()\n' for n in range(99)]
            assert client._fail(jid, "FileNotFoundError", "no such file", backtrace)

        def failed_job(retry):
            job = Job(jobtype="shaky", args=[], queue="shaky", retry=retry)
            producer.push(job)
            fetched(client, "shaky")
            fail(job.jid)
            return job.jid

        # Twice again, and then it is dead. Nobody here waits for the moment of the next try.
        jid = failed_job(2)
        for count, remaining in [(0, 2), (1, 1)]:
            expect_sets(client, retries=1, dead=0)
            mutate(client, Cmd.requeue, Target.retries, jids=[jid])
            failure = fetched(client, "shaky")["failure"]
            equal(failure["retry_count"], count)
            equal(failure["remaining"], remaining)
            equal(failure["errtype"], "FileNotFoundError")
            equal(failure["message"], "no such file")
            equal(failure["backtrace"][1], '  File "a.py", line 1\n    f()\n')
            equal(len(failure["backtrace"]), 50, "more lines are not kept")
            is_time(failure["failed_at"])
            fail(jid)
        expect_sets(client, retries=0, dead=1)
        equal(client.info()["faktory"]["total_failures"], 3)

        # The dead are asked to rise.
        mutate(client, Cmd.requeue, Target.dead, jobtype="shaky")
        equal(fetched(client, "shaky")["jid"], jid)
        client._ack(jid)
        expect_sets(client, retries=0, dead=0)

        failed_job(0)
        expect_sets(client, retries=0, dead=0)
        failed_job(-1)
        expect_sets(client, retries=0, dead=1)
        refused(lambda: client._fail("nobody-knows-me", "E", "m", []), "Job not found nobody-knows-me")

        # Sets by type, by pattern and by id.
        def later(jobtype, uid):
            job = Job(jobtype=jobtype, args=[{"uid": uid}], queue="later", at=in_an_hour())
            producer.push(job)
            return job.jid

        later("beta", 1)
        later("alpha", 2)
        third = later("alpha", 3)
        mutate(client, Cmd.kill, Target.scheduled, jobtype="beta")
        expect_sets(client, scheduled=2, dead=2)
        mutate(client, Cmd.discard, Target.scheduled, jobtype="alpha", regexp='*"uid":2*')
        expect_sets(client, scheduled=1, dead=2)
        mutate(client, Cmd.requeue, Target.scheduled, jids=["somebody-else", third])
        expect_sets(client, scheduled=0)
        equal(fetched(client, "later")["jid"], third)
        client._ack(third)
        assert client.mutate(MutateOperation(cmd=Cmd.clear, target=Target.dead))
        expect_sets(client, dead=0)


def queues():
    with both("queues") as client:
        producer = Producer(client)
        job = Job(jobtype="one", args=[], queue="paused")
        producer.push(job)
        client.queue_pause(["paused", "nobody-knows-me"])
        equal(client._fetch(["paused"]), None)
        client.queue_unpause(["paused"])
        equal(fetched(client, "paused")["jid"], job.jid)
        client._ack(job.jid)
        producer.push(Job(jobtype="one", args=[], queue="paused"))
        client.queue_pause(all_queues=True)
        client.queue_remove(["paused"])
        assert "paused" not in client.info()["faktory"]["queues"]
        client.queue_unpause(all_queues=True)


def password():
    push_and_fetch("password")
    scheme, _, host = os.environ["FAKTORY_URL"].partition("://:hunter2@")
    refused(Client(faktory_url=f"{scheme}://:wrong@{host}").connect, "Invalid password")


def tls():
    push_and_fetch("over-tls")


def push_and_fetch(name):
    with both(name) as client:
        job = Job(jobtype="one", args=["x" * 100_000])
        Producer(client).push(job)
        equal(fetched(client, "default")["jid"], job.jid)
        client._ack(job.jid)


def greet(name):
    say("greeted", name)


def break_it():
    raise ValueError("broken")


def worker():
    """Says what it does, and stays until the server tells it to stop."""

    class Heard(logging.Handler):
        def emit(self, record):
            if record.getMessage().endswith("to State.QUIET"):
                say("quiet")

    logger = logging.getLogger("FaktoryClient")
    logger.setLevel(logging.INFO)
    logger.addHandler(Heard())
    logger.propagate = False
    with Client(role="consumer", worker_id="python-worker", beat_period=0.1) as client:
        consumer = Consumer(client, queues=["default"], concurrency=2)
        consumer.register("greet", greet)
        consumer.register("break", break_it)
        say("working")
        try:
            consumer.run()
        except SystemExit:
            say("stopped")


IS_OVER = threading.Event()
IS_UP = threading.Event()
# How far the pushing may be ahead of the working: the queue shall neither be empty nor long.
LEAD_MAX = 50
LEAD = threading.Semaphore(LEAD_MAX)


def again_and_again(use, role, worker_id):
    """Clients of this library end with their connection, so there is a new one after each kill."""
    while not IS_OVER.is_set():
        IS_UP.wait()
        try:
            client = Client(role=role, worker_id=worker_id, beat_period=1)
            client.connect()
            use(client)
        except (FaktroyWorkProtocolError, OSError, ValueError):
            pass


def produce(numbers, client):
    while True:
        LEAD.acquire()
        if IS_OVER.is_set():
            return
        number = next(numbers)
        jid = uuid.uuid4().hex
        say("asked", jid)
        try:
            Producer(client).push(Job(jid=jid, jobtype="work", args=[number]))
        except Exception:
            say("unknown", jid)
            LEAD.release()
            raise
        say("accepted", jid)


def consume(owed, client):
    while owed or not IS_OVER.is_set():
        if not owed:
            job = client._fetch(["default"])
            if job:
                say("began", job["jid"])
                LEAD.release()
                owed.append(job)
        for job in list(owed):
            # What it could not report before a kill it reports after.
            if job["args"][0] % 10 == 3 and "failure" not in job:
                client._fail(job["jid"], "Error", "at first it fails", [])
            else:
                client._ack(job["jid"])
                say("acked", job["jid"])
            owed.remove(job)


def load():
    """Pushes and works while the server is killed and comes back, until it reads `end`. It reads `down` before the
    server is killed and `up` when it is back."""
    threading.excepthook = lambda args: None
    threads = []
    for number in range(4):
        numbers, owed = itertools.count(), []
        uses = [
            (lambda client, numbers=numbers: produce(numbers, client), "producer"),
            (lambda client, owed=owed: consume(owed, client), "consumer"),
        ]
        for use, role in uses:
            args = (use, role, f"python-load-{number}")
            threads.append(threading.Thread(target=again_and_again, args=args))
    IS_UP.set()
    for thread in threads:
        thread.start()
    for line in sys.stdin:
        word = line.strip()
        if word == "up":
            IS_UP.set()
        elif word == "down":
            IS_UP.clear()
        elif word == "end":
            break
    IS_OVER.set()
    LEAD.release(len(threads))
    for thread in threads:
        thread.join()
    # The library's heartbeats sleep; nobody waits for them.
    os._exit(0)


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    scenarios = [jobs, failures, queues, password, tls, worker, load]
    {scenario.__name__: scenario for scenario in scenarios}[sys.argv[1]]()
