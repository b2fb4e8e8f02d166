import type { Redis } from 'ioredis';
import type { QueuePlace } from './job-queue.ts';

/** BullMQ runs low numbers first; its score of a waiting entry is this number, and a count of arrivals in the lower 32 bits. */
const AHEAD = 1;
/** BullMQ's largest: an entry that has no turn yet. Between the two are the rounds. */
const UNPLACED = 2 ** 21 - 1;
/** Rounds are numbered anew from here on: BullMQ's numbers end at twice as many. */
const LAST_ROUND = 2 ** 20;
const HIGHEST_PRIORITY = 10;
/** What is known of a tenant's line is of no use when nothing of it has come for so long: no job waits longer. */
const KEPT_SECONDS = 8 * 24 * 3600;

const SHARED = `
local SPAN, FIRST_ROUND = 0x100000000, 2
local waiting, turns, own, arrivals = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, unplaced = ARGV[1], tonumber(ARGV[2])
local function roundOf(score) return math.floor(score / SPAN) end
local function scoreOf(id)
  local score = tonumber(redis.call('ZSCORE', waiting, id))
  if score and roundOf(score) ~= unplaced then return score end
end
local function give(id, score)
  redis.call('ZADD', waiting, score, id)
  redis.call('HSET', prefix .. id, 'priority', roundOf(score))
end
-- Entries that were taken or removed leave the lists here: whoever takes one need not tell.
local function firstWaiting(list, range)
  while true do
    local id = redis.call(range, list, 0, 0)[1]
    if not id then return end
    local score = scoreOf(id)
    if score then return id, score end
    redis.call('ZREM', list, id)
  end
end
`;

/** See FairTurns. */
const PLACE = `${SHARED}
local id, tenant, level, isShared = ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6] == 'shared'
local lastRound, kept = tonumber(ARGV[7]), ARGV[8]
local function known(field) return tonumber(redis.call('HGET', turns, field)) end

if scoreOf(id) then return end
redis.call('ZREM', own, id) -- of an earlier time in the queue
firstWaiting(own, 'ZRANGE')
firstWaiting(arrivals, 'ZRANGE')

local now, top = known(':now') or FIRST_ROUND, known(':top') or FIRST_ROUND
local head = redis.call('ZRANGEBYSCORE', waiting, string.format('%.0f', FIRST_ROUND * SPAN),
  string.format('(%.0f', unplaced * SPAN), 'WITHSCORES', 'LIMIT', 0, 1)
if head[2] then now = math.max(now, roundOf(tonumber(head[2])) - 1) else now = math.max(now, top) end

if now > lastRound then
  local shift = now - FIRST_ROUND
  local all = redis.call('ZRANGE', waiting, 0, -1, 'WITHSCORES')
  for n = 1, #all, 2 do
    local score = tonumber(all[n + 1])
    local round = roundOf(score)
    if round >= FIRST_ROUND and round < unplaced then
      give(all[n], math.max(FIRST_ROUND, round - shift) * SPAN + score % SPAN)
    end
  end
  local away = { redis.call('LRANGE', prefix .. 'active', 0, -1), redis.call('ZRANGE', prefix .. 'delayed', 0, -1) }
  for _, ids in ipairs(away) do
    for _, other in ipairs(ids) do
      local round = tonumber(redis.call('HGET', prefix .. other, 'priority'))
      if round and round >= FIRST_ROUND and round < unplaced then
        redis.call('HSET', prefix .. other, 'priority', math.max(FIRST_ROUND, round - shift))
      end
    end
  end
  local fields = redis.call('HGETALL', turns)
  for n = 1, #fields, 2 do
    local round = tonumber(fields[n + 1]) - shift
    if round < FIRST_ROUND then redis.call('HDEL', turns, fields[n]) else redis.call('HSET', turns, fields[n], round) end
  end
  now, top = FIRST_ROUND, math.max(FIRST_ROUND, top - shift)
end
redis.call('HSET', turns, ':now', now, ':top', math.max(now, top))

local had = known(tenant) or 0
local raw = tonumber(redis.call('ZSCORE', waiting, id))
if not raw then
  -- A worker that was free has taken it at once, in the round that is being served.
  if redis.call('HGET', prefix .. id, 'priority') == ARGV[2] then
    redis.call('HSET', prefix .. id, 'priority', now)
    if not isShared then redis.call('HSET', turns, tenant, math.max(had, now)) end
  end
  return
end

-- Two processes may place entries in another order than the one in which they came.
local arrival = raw % SPAN
local order = level * SPAN + arrival
local _, tail = firstWaiting(own, 'ZREVRANGE')
local behind = {}
for _, other in ipairs(redis.call('ZREVRANGEBYSCORE', own, '+inf', string.format('%.0f', order))) do
  local score = scoreOf(other)
  if score then behind[#behind + 1] = { other, score } else redis.call('ZREM', own, other) end
end
local round = math.max(now, math.min(had, now + 1) + 1, tail and roundOf(tail) + 1 or 0)
if isShared and #behind > 0 then round = roundOf(behind[#behind][2]) end
local score = math.min(round, unplaced - 1) * SPAN + arrival
if not isShared then
  redis.call('HSET', turns, tenant, round, ':top', math.max(top, round))
  for _, entry in ipairs(behind) do
    give(entry[1], score)
    score = entry[2]
  end
  redis.call('ZADD', own, order, id)
  redis.call('EXPIRE', own, kept)
end
give(id, score)
redis.call('ZADD', arrivals, redis.call('HGET', prefix .. id, 'timestamp'), id)
`;

const OLDEST = `${SHARED}
local id = firstWaiting(arrivals, 'ZRANGE')
return id and redis.call('ZSCORE', arrivals, id)
`;

/**
 * What FairTurns does, in Redis and for all processes: the numbers by which BullMQ orders entries are rounds. An entry is
 * added behind all others and then placed, in one script: whoever dies in between leaves an entry that the next `enqueue` of the id
 * places. What is kept here beside BullMQ's own keys follows from what waits; losing it loses no order but that of the tenants' last turns.
 */
export class RedisTurns {
  readonly #client: Redis;
  readonly #prefix: string;
  readonly #queueName: string;

  constructor(client: Redis, names: { readonly prefix: string; readonly queue: string }) {
    this.#client = client;
    this.#prefix = names.prefix;
    this.#queueName = names.queue;
  }

  /** The number to add an entry with. */
  static initial({ turn }: QueuePlace): number {
    return turn === 'ahead' ? AHEAD : UNPLACED;
  }

  /** Gives an entry its turn, if it is there and has none. */
  async place(jobId: string, { tenant, priority, turn }: QueuePlace): Promise<void> {
    if (turn === 'ahead') return;
    const level = HIGHEST_PRIORITY - priority;
    await this.#run(PLACE, tenant, [jobId, tenant, level, turn, LAST_ROUND, KEPT_SECONDS]);
  }

  /** When the entry came that has waited longest, in ms since 1970; entries that were delivered before are not looked at. */
  async oldest(): Promise<number | undefined> {
    const answer = await this.#run(OLDEST, '', []);
    return typeof answer === 'string' ? Number(answer) : undefined;
  }

  #run(script: string, tenant: string, parameters: readonly (string | number)[]): Promise<unknown> {
    const own = `${this.#prefix}:turns`;
    const keys = [`${this.#prefix}:${this.#queueName}:prioritized`, own, `${own}:of:${tenant}`, `${own}:arrivals`];
    return this.#client.eval(
      script,
      keys.length,
      ...keys,
      `${this.#prefix}:${this.#queueName}:`,
      UNPLACED,
      ...parameters,
    );
  }
}
