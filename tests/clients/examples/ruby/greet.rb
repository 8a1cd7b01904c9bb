# gem install faktory_worker_ruby
#
# push: ruby -r ./greet.rb -e 'Greet.perform_async("Ada")'
# work: faktory-worker -r ./greet.rb -q default -c 4
require "faktory_worker_ruby"

class Greet
  include Faktory::Job

  def perform(name)
    puts "hello #{name}"
  end
end
