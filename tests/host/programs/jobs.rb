# Threads that each read about so many MiB of rows a job, and drop them; then the queue is empty, and they wait for the
# next job. Each has an arena of glibc's malloc. Knows no memgov.
mib = ARGV[0].to_i
jobs = Queue.new
done = Queue.new
5.times do
  Thread.new do
    while (size = jobs.pop)
      rows = Array.new(size * 1048576 / 4000) { |i| ("row #{i} " * 400)[0, 1900] }
      done << rows.map(&:upcase).size
      rows = nil
    end
  end
end
3.times do
  5.times { jobs << mib / 5 }
  5.times { done.pop }
end
GC.start
trap("TERM") { exit!(0) }
puts '{"ready":true}'
$stdout.flush
sleep
