//! cargo add faktory; cargo add tokio --features macros,rt-multi-thread
use faktory::{Client, Job, Worker};

async fn greet(job: Job) -> Result<(), std::io::Error> {
    println!("hello {}", job.args()[0].as_str().unwrap_or("you"));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), faktory::Error> {
    let mut client = Client::connect().await?;
    client.enqueue(Job::new("greet", vec!["Ada"])).await?;

    let mut worker = Worker::builder().workers(4).register_fn("greet", greet).connect().await?;
    let stopped = worker.run(&["default"]).await?;
    println!("stopped: {}", stopped.reason);
    Ok(())
}
