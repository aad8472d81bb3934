-- Run by wrk: counts every answer whose status or body length is not the expected one, and prints one JSON line.
-- Arguments: EXPECTED_STATUS EXPECTED_LENGTH. Called by driver.py, which throws the run away if `wrong` is not 0.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  expected_status = tonumber(args[1])
  expected_length = tonumber(args[2])
  wrong = 0
end

function response(status, headers, body)
  if status ~= expected_status or #body ~= expected_length then
    wrong = wrong + 1
  end
end

function done(summary, latency, requests)
  local wrong_total = 0
  for _, thread in ipairs(threads) do
    wrong_total = wrong_total + thread:get("wrong")
  end
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "micros": %d, "wrong": %d, "errors": %d, "p50": %d, "p99": %d, "p999": %d}\n',
    summary.requests, summary.duration, wrong_total,
    errors.connect + errors.read + errors.write + errors.timeout + errors.status,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
