-- Who has answered.
return redis.call('SMEMBERS', KEYS[1])
