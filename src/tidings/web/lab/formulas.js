// What a transport must cost, from the load and the sizes of its exchanges: the same formulas as `tidings lab` has.
//
// Owns: the formulas. Does not own: the sizes (exchanges.js), or what was measured.
//
// A load is {rate, interval, wait, rtt}: messages a second, and seconds. A prediction is {requests, empty, bytes, delay}:
// requests a message, the share of empty answers, bytes up and down a message, seconds.

/** The bytes of an answer that holds so many messages; `sizes` is {request, head, envelope, message}. */
export function answer({ head, envelope, message }, messages) {
  const body = envelope + messages * message + Math.max(0, messages - 1);
  return head + String(Math.round(body)).length + body;
}

export function polling({ rate, interval, rtt }, sizes) {
  const messages = rate * interval; // in an answer, on average
  const empty = Math.exp(-messages);
  const down = empty * answer(sizes, 0) + (1 - empty) * answer(sizes, 1) + (messages - (1 - empty)) * (sizes.message + 1);
  return {
    requests: 1 / messages,
    empty,
    bytes: (sizes.request + down) / messages,
    delay: interval / 2 + rtt / 2,
  };
}

export function longPolling({ rate, wait, rtt }, sizes) {
  const parked = Math.exp(-rate * rtt); // the share of questions that find nothing when they arrive
  const answered = 1 - Math.exp(-rate * wait); // of those, the share that is not empty at the deadline
  const messages = rate * rtt + parked * answered;
  const empty = parked * (1 - answered);
  const down = empty * answer(sizes, 0) + (1 - empty) * answer(sizes, 1) + (messages - (1 - empty)) * (sizes.message + 1);
  const waited = (rate * rtt) / messages; // the share that was published while no question was there
  return {
    requests: 1 / messages,
    empty,
    bytes: (sizes.request + down) / messages,
    delay: rtt / 2 + (waited * rtt) / 2,
  };
}

/** `opening` is what opening the stream cost, spread over `messages`. */
export function stream({ rtt }, { message, opening = 0 }, messages) {
  return { requests: 0, empty: 0, bytes: message + (messages ? opening / messages : 0), delay: rtt / 2 };
}
