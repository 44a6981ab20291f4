-- Strikes ARGV[1] off the roll.
return redis.call('HDEL', KEYS[1], ARGV[1])
