-- Adds ARGV[1] to the set, which lasts for ARGV[2] ms.
redis.call('SADD', KEYS[1], ARGV[1])
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
