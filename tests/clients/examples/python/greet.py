# pip install pyfaktory
from pyfaktory import Client, Consumer, Job, Producer


def greet(name):
    print(f"hello {name}", flush=True)


if __name__ == "__main__":
    with Client(role="producer") as client:
        Producer(client).push(Job(jobtype="greet", args=["Ada"]))

    with Client(role="consumer") as client:
        worker = Consumer(client, queues=["default"], concurrency=4)
        worker.register("greet", greet)
        worker.run()
