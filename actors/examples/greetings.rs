//! cargo add --path beaver/actors; cargo add actix --no-default-features --features macros
use beaver_actors::api::handler::{HandlerFuture, Handlers, JobHandler, JobRun};
use beaver_actors::api::options::EngineOptions;
use beaver_actors::engine::Engine;
use beaver_actors::ids::{KindName, QueueName};
use beaver_actors::jobs::{JobSpec, Payload};

struct Greet;

impl JobHandler for Greet {
    fn run(&self, job: JobRun) -> HandlerFuture {
        Box::pin(async move {
            let name: String = job.payload.read()?; // an error here is a failed attempt; so is a panic
            println!("hello {name}, attempt {}", job.attempt);
            Ok(None) // or JSON to keep as the job's result
        })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    actix::System::new().block_on(async {
        let greet = KindName::parse("greet")?;
        let handlers = Handlers::new().with(greet.clone(), Greet);
        let engine = Engine::start(EngineOptions::in_dir("greetings"), handlers);
        engine.ready().await.map_err(|ending| format!("{ending:?}"))?;
        let job = JobSpec::new(QueueName::parse("default")?, greet, Payload::parse(r#""Ada""#)?);
        let accepted = engine.enqueue(vec![job]).await?; // it is on disk now
        println!("{}", accepted[0].id);
        engine.stop(None).await; // what runs may end; what still waits is there at the next start
        Ok(())
    })
}
