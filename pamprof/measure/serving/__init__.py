"""What a serving sweep visits: batches and contexts raised until throughput is flat and memory ends."""
