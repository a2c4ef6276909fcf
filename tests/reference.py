"""The oracle: NumPy, one unpadded sequence at a time, without seqmask.

Each function takes one sequence `x` [n, D] (and weights), and follows the equation in the docstring
of the operation of the same name.
"""

import numpy as np


def last_relevant(x):
    return x[-1] if len(x) else np.zeros(x.shape[1:], x.dtype)


def reverse(x):
    return x[::-1]


def pack(lengths, reverse=False):
    """(batch_sizes, order, positions) of a whole batch: its real steps, longest sequence first."""
    order = sorted(range(len(lengths)), key=lambda b: -lengths[b])      # sorted() is stable
    alive = [[b for b in order if lengths[b] > t] for t in range(max(lengths, default=0))]
    positions = [(b, lengths[b] - 1 - t if reverse else t)
                 for t, rows in enumerate(alive) for b in rows]
    return [len(rows) for rows in alive], order, positions


# Recurrent layers: each returns (outputs [n, H], final state); weights as in Keras

def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def unroll(cell, x, state, width, reverse=False):
    outputs = np.zeros([len(x), width])
    for t in range(len(x))[::-1 if reverse else 1]:
        outputs[t], state = cell(x[t], state)
    return outputs, state


def lstm(x, weights, state=None, reverse=False):
    W, U, b = weights['kernel'], weights['recurrent_kernel'], weights['bias']
    hidden_size = len(U)

    def cell(x_t, state):
        h_tm1, c_tm1 = state
        i, f, g, o = np.split(x_t @ W + h_tm1 @ U + b, 4)
        c_t = sigmoid(f) * c_tm1 + sigmoid(i) * np.tanh(g)
        h_t = sigmoid(o) * np.tanh(c_t)
        return h_t, (h_t, c_t)

    zeros = np.zeros(hidden_size)
    return unroll(cell, x, (zeros, zeros) if state is None else state, hidden_size, reverse)


def gru(x, weights, state=None, reverse=False, reset_after=True):
    W, U, b = weights['kernel'], weights['recurrent_kernel'], weights['bias']
    hidden_size = len(U)
    W_z, W_r, W_g = np.split(W, 3, axis=-1)
    U_z, U_r, U_g = np.split(U, 3, axis=-1)
    b, b2 = b if reset_after else (b, np.zeros_like(b))     # b' of the docstring
    b_z, b_r, b_g = np.split(b, 3)
    b2_z, b2_r, b2_g = np.split(b2, 3)

    def cell(x_t, h_tm1):
        z = sigmoid(x_t @ W_z + b_z + h_tm1 @ U_z + b2_z)
        r = sigmoid(x_t @ W_r + b_r + h_tm1 @ U_r + b2_r)
        if reset_after:
            g = np.tanh(x_t @ W_g + b_g + r * (h_tm1 @ U_g + b2_g))
        else:
            g = np.tanh(x_t @ W_g + b_g + (r * h_tm1) @ U_g)
        h_t = z * h_tm1 + (1 - z) * g
        return h_t, h_t

    return unroll(cell, x, np.zeros(hidden_size) if state is None else state, hidden_size, reverse)


def mgu(x, weights, state=None, reverse=False):
    (W_f, W_g), (U_f, U_g), (b_f, b_g) = (np.split(weights[name], 2, axis=-1) for name in (
        'kernel', 'recurrent_kernel', 'bias'))

    def cell(x_t, h_tm1):
        f = sigmoid(x_t @ W_f + h_tm1 @ U_f + b_f)
        g = np.tanh(x_t @ W_g + (f * h_tm1) @ U_g + b_g)
        h_t = (1 - f) * h_tm1 + f * g
        return h_t, h_t

    return unroll(cell, x, np.zeros(len(U_f)) if state is None else state, len(U_f), reverse)


def bidirectional(x, forward, backward, reverse=False):
    """`forward` and `backward`: (x, reverse=) -> (outputs, final state)."""
    forward_outputs, forward_state = forward(x, reverse=reverse)
    backward_outputs, backward_state = backward(x, reverse=not reverse)
    outputs = np.concatenate([forward_outputs, backward_outputs], axis=-1)
    return outputs, (forward_state, backward_state)


def dense(x, weights):
    return x @ weights['kernel'] + weights['bias']


# Normalisation, attention, gates

def batch_norm(x, weights, mean, variance, epsilon=1e-3):
    return weights['gamma'] * (x - mean) / np.sqrt(variance + epsilon) + weights['beta']


def batch_norm_in_training(sequences, weights, epsilon=1e-3):
    """(outputs, mean, variance) of a whole batch, given as a list of sequences."""
    steps = np.concatenate(sequences)
    if not len(steps):
        return sequences, None, None
    mean = np.sum(steps, axis=0) / len(steps)
    variance = np.sum((steps - mean) ** 2, axis=0) / len(steps)
    return [batch_norm(x, weights, mean, variance, epsilon) for x in sequences], mean, variance


def layer_norm(x, weights, epsilon=1e-3):
    centred = x - np.mean(x, axis=-1, keepdims=True)
    variance = np.mean(centred ** 2, axis=-1, keepdims=True)
    return weights['gamma'] * centred / np.sqrt(variance + epsilon) + weights['beta']


def standardize(x):
    """Standardizes by the sequence's own mean and deviation, or by 1 where the latter is 0."""
    if not len(x):
        return x
    deviation = np.std(x, axis=0)
    return (x - np.mean(x, axis=0)) / np.where(deviation > 0, deviation, 1)


def softmax(logits, axis=-1):
    return np.exp(logits) / np.sum(np.exp(logits), axis=axis, keepdims=True)


def attention_pool(x, weights):
    score = np.tanh(x @ weights['kernel'] + weights['bias']) @ weights['scorer']
    return softmax(score) @ x


def self_attention(x, weights, num_heads, causal=False):
    query, key, value = (
        np.split(x @ weights[name] + weights[f'{name}_bias'], num_heads, axis=-1)
        for name in ['query', 'key', 'value'])
    seen = np.tri(len(x)) if causal else np.ones([len(x), len(x)])
    attended = []
    for q, k, v in zip(query, key, value):
        odds = np.exp(q @ k.T / np.sqrt(q.shape[-1])) * seen
        attended.append(odds / np.sum(odds, axis=-1, keepdims=True) @ v)
    return np.concatenate(attended, axis=-1) @ weights['output'] + weights['output_bias']


def attention_scores(queries, memory, weights, kind):
    """One head's scores [t, s] of 'dot', 'general' and 'additive'."""
    if kind == 'additive':
        return np.array([[np.tanh(q @ weights['query'] + m @ weights['key'] + weights['bias'])
                          @ weights['scorer'] for m in memory] for q in queries])
    keys = memory @ weights['key'] if kind == 'general' else memory
    return queries @ keys.T


def attention(queries, memory, weights, kind, num_heads=1):
    """(contexts [t, M], weights [t, s] averaged over the heads) of queries [t, Q]."""
    if not len(memory):
        return np.zeros([len(queries), memory.shape[1]]), np.zeros([len(queries), 0])
    if not len(queries):
        return np.zeros([0, memory.shape[1]]), np.zeros([0, len(memory)])
    if kind != 'multihead':
        p = softmax(attention_scores(queries, memory, weights, kind))
        return p @ memory, p
    q, k, v = (np.split(x @ weights[name] + weights[f'{name}_bias'], num_heads, axis=-1)
               for x, name in [(queries, 'query'), (memory, 'key'), (memory, 'value')])
    parts = [softmax(q_h @ k_h.T / np.sqrt(q_h.shape[-1])) for q_h, k_h in zip(q, k)]
    attended = np.concatenate([p @ v_h for p, v_h in zip(parts, v)], axis=-1)
    return attended @ weights['output'] + weights['output_bias'], sum(parts) / num_heads


def squeeze_excite(x, weights):
    if not len(x):
        return x
    hidden = np.maximum(np.mean(x, axis=0) @ weights['squeeze'] + weights['squeeze_bias'], 0)
    return x * sigmoid(hidden @ weights['excite'] + weights['excite_bias'])


def encoder(x, weights, cell):
    """Batch norm and a convolution, where present, then stacked recurrent layers; in inference."""
    if part(weights, 'normalize'):
        x = batch_norm(x, part(weights, 'normalize'), mean=0.0, variance=1.0)
    below = part(weights, 'convolution/layers')
    if below:
        x = batch_norm(conv1d(x, part(below, '0')), part(below, '1'), mean=0.0, variance=1.0)
        x = np.maximum(x, 0)
    return recurrent_layers(x, part(weights, 'recurrent'), cell)


def conv_encoder(x, weights):
    """Batch norm, then three blocks of convolution, batch norm, relu and gates; in inference."""
    x = batch_norm(x, part(weights, 'normalize'), mean=0.0, variance=1.0)
    layers = part(weights, 'convolutions/layers')
    for k in range(0, 12, 4):       # convolution, batch norm, relu, gates
        x = conv1d(x, part(layers, str(k)))
        x = np.maximum(batch_norm(x, part(layers, str(k + 1)), mean=0.0, variance=1.0), 0)
        x = squeeze_excite(x, part(layers, str(k + 3))) if k < 8 else x
    return x


def dilated_encoder(x, weights, padding='causal'):
    """Convolutions with relu, all but the first with a residual connection."""
    convolutions = part(weights, 'convolutions')
    for k in range(len({name.split('/')[0] for name in convolutions})):
        added = conv1d(x, part(convolutions, str(k)), dilation=2 ** k, padding=padding)
        x = np.maximum(added, 0) + (x if k else 0)
    return x


def labeller(x, weights, cell):
    """An encoder and a dense head."""
    return dense(encoder(x, part(weights, 'encoder'), cell), part(weights, 'to_logits'))


def recurrent_layers(x, weights, cell):
    """The outputs of stacked layers of one cell, in one or two directions."""
    layers = part(weights, 'layers')
    for k in range(len({name.split('/')[0] for name in layers})):
        layer = part(layers, str(k))
        if 'kernel' in layer:
            x, _ = cell(x, layer)
        else:
            x, _ = bidirectional(x, *(
                lambda x, reverse, own=part(layer, way): cell(x, own, reverse=reverse)
                for way in ['forward', 'backward']))
    return x


def sequence_code(x, weights, cell):
    """The output of each direction after its own last step, through a linear map if present."""
    outputs = encoder(x, part(weights, 'encoder'), cell)
    both = any('/forward/' in name for name in part(weights, 'encoder'))
    forward, backward = np.split(outputs, 2, axis=1) if both else (outputs, outputs[:, :0])
    code = np.concatenate([forward[-1], backward[0]]) if len(x) else np.zeros(outputs.shape[1])
    to_code = part(weights, 'to_code')
    return dense(code, to_code) if to_code else code


def autoencoder(x, weights, cell, reverse_target=False, autoregressive=False, teacher=False):
    """A sequence from its code; an autoregressive decoder restarts for every step it decodes."""
    code = sequence_code(x, weights, cell)
    target = reverse(x) if reverse_target else x

    def decode(inputs):
        return dense(encoder(inputs, part(weights, 'decoder'), cell), part(weights, 'to_frame'))

    if not autoregressive:
        outputs = decode(np.tile(code, [len(x), 1]))
    else:
        outputs = np.zeros(x.shape)
        for t in range(len(x)):
            previous = np.zeros([t + 1, x.shape[1]])
            previous[1:] = (target if teacher else outputs)[:t]
            outputs[t] = decode(np.concatenate([np.tile(code, [t + 1, 1]), previous], axis=1))[-1]
    return reverse(outputs) if reverse_target else outputs


def sequence_to_sequence(x, weights, kind, tied=False, input_feeding=False):
    """(step, state, end) of an attentive decoder, as `greedy` takes them, on the inputs x."""
    memory = encoder(x, part(weights, 'encoder'), gru)
    embeddings = part(weights, 'embedding')['embeddings']
    layer = part(weights, 'decoder/recurrent/layers/0')
    first = np.tanh(dense(pool(np.mean, memory), part(weights, 'to_state')))

    def step(token, state):
        hidden, fed = state
        read = [embeddings[token], fed] if input_feeding else [embeddings[token]]
        outputs, hidden = gru(np.concatenate(read)[None], layer, hidden)
        context, _ = attention(outputs, memory, part(weights, 'attention'), kind)
        attended = np.tanh(dense(np.concatenate([outputs, context], axis=1),
                                 part(weights, 'to_attended')))[0]
        logits = (attended @ embeddings.T + weights['bias'] if tied else
                  dense(attended, part(weights, 'to_logits')))
        return logits, (hidden, attended)

    width = len(part(weights, 'to_attended')['bias'])
    return step, (first, np.zeros(width)), len(embeddings) - 1


def sequence_to_sequence_nats(x, labels, *options, **more):
    """Minus the log probability of the labels and of their end."""
    step, state, end = sequence_to_sequence(x, *options, **more)
    nats = 0.0
    for token, label in zip([end, *labels], [*labels, end]):
        logits, state = step(token, state)
        nats += np.logaddexp.reduce(logits) - logits[label]
    return nats


def classifier(x, weights, pool_recurrent):
    """A pooled LSTM and averaged convolutions, where present, side by side; in inference."""
    backbone = part(weights, 'encoder')
    _, (hidden, _) = lstm(batch_norm(x, part(backbone, 'normalize'), mean=0.0, variance=1.0),
                          part(backbone, 'recurrent/layers/0'))
    vectors = [pool_recurrent(encoder(x, backbone, lstm), hidden, weights)]
    if part(weights, 'branch'):
        vectors.append(pool(np.mean, conv_encoder(x, part(weights, 'branch'))))
    return dense(np.concatenate(vectors), part(weights, 'to_logits'))


def event_detector(x, weights, cell=None, padding='causal'):
    """Convolutions or recurrent layers, and one logit."""
    backbone = part(weights, 'encoder')
    outputs = dilated_encoder(x, backbone, padding) if cell is None else encoder(x, backbone, cell)
    return dense(outputs, part(weights, 'to_logit'))[:, 0]


def part(weights, path):
    """The weights of a layer inside another: those whose names start with its path."""
    return {name[len(path) + 1:]: w for name, w in weights.items() if name.startswith(path + '/')}


# Windows over time: each returns one row per window

def window_starts(n, size, strides=1, dilation=1, padding='same'):
    """The step at which each window starts; negative if before the sequence."""
    reach = (size - 1) * dilation
    if padding == 'valid':
        return [s for s in range(0, n, strides) if s + reach < n]
    before = {'same': reach // 2, 'causal': reach}[padding]
    return [s - before for s in range(0, n, strides)]


def conv1d(x, weights, strides=1, dilation=1, padding='same', groups=1):
    W, b = weights['kernel'], weights.get('bias', 0.0)
    size, width, filters = W.shape
    starts = window_starts(len(x), size, strides, dilation, padding)
    outputs = np.zeros([len(starts), filters])
    for k, start in enumerate(starts):
        for j in range(size):
            t = start + j * dilation
            for f in range(filters):
                first = f // (filters // groups) * width
                if 0 <= t < len(x):
                    outputs[k, f] += x[t, first:first + width] @ W[j, :, f]
    return outputs + b


def pool1d(reduce, x, size, strides=None, padding='valid'):
    rows = [reduce([x[t] for t in range(start, start + size) if 0 <= t < len(x)], axis=0)
            for start in window_starts(len(x), size, strides or size, padding=padding)]
    return np.reshape(rows, [len(rows), *x.shape[1:]])


def pool(reduce, x):
    return reduce(x, axis=0) if len(x) else np.zeros(x.shape[1:])


# Losses of one sequence: per step, or per element of its features

def sparse_softmax_cross_entropy(logits, labels, label_smoothing=0.0):
    one_hot = np.eye(logits.shape[-1])[labels]
    return softmax_cross_entropy(logits, one_hot, label_smoothing)


def softmax_cross_entropy(logits, labels, label_smoothing=0.0):
    s, num_classes = label_smoothing, logits.shape[-1]
    return -np.sum(((1 - s) * labels + s / num_classes) * np.log(softmax(logits)), axis=-1)


def sigmoid_cross_entropy(logits, labels, label_smoothing=0.0, pos_weight=1.0):
    p = sigmoid(logits)
    y = (1 - label_smoothing) * labels + label_smoothing / 2
    return -pos_weight * y * np.log(p) - (1 - y) * np.log(1 - p)


def focal(logits, labels, gamma=2.0, alpha=None):
    positive, negative = (1, 1) if alpha is None else (alpha, 1 - alpha)
    p = sigmoid(logits)
    return (-positive * labels * (1 - p) ** gamma * np.log(p)
            - negative * (1 - labels) * p ** gamma * np.log(1 - p))


def squared_error(predictions, labels):
    return (predictions - labels) ** 2


def absolute_error(predictions, labels):
    return np.abs(predictions - labels)


def huber(predictions, labels, delta=1.0):
    e = np.abs(predictions - labels)
    return np.where(e <= delta, e ** 2 / 2, delta * (e - delta / 2))


def right(logits, labels):
    return (np.argmax(logits, axis=-1) == labels).astype(float)


def tally(losses, weights=1.0, per='step', features='mean'):
    """[total, count] of one sequence: losses [n] or [n, D], one weight or [n]."""
    if losses.ndim > 1:
        losses = losses.mean(axis=-1) if features == 'mean' else losses.sum(axis=-1)
    step_weights = weights * np.ones(len(losses))
    total, count = np.sum(step_weights * losses), np.sum(step_weights)
    if per == 'step' or not len(losses):
        return [total, count]
    sequence_weight = 1.0 if np.ndim(weights) else weights
    return [sequence_weight * total / count, sequence_weight]


def confusion_matrix(logits, labels):
    counts = np.zeros([logits.shape[-1]] * 2)
    for label, predicted in zip(labels, np.argmax(logits, axis=-1)):
        counts[label, predicted] += 1
    return counts


def decisions(logits, labels, threshold):
    """(hits, detected steps, event steps) of one sequence."""
    detected, events = logits >= threshold, labels == 1
    return np.sum(detected & events), np.sum(detected), np.sum(events)


def peaks(scores, tolerance):
    return np.array([all(scores[t] > s for s in scores[max(0, t - tolerance):t])
                     and all(scores[t] >= s for s in scores[t + 1:t + 1 + tolerance])
                     for t in range(len(scores))], bool)


# Ratings

def matrix_rows(ratings, rated):
    """The ratings of one matrix row, as a list, and their number."""
    return [ratings[rated][:, None], np.sum(rated)]


def rating_autoencoder(ratings, columns, given, wanted, weights, mean, column, shrinkage=5.0):
    """One row's predictions for the columns `wanted`, from the given ratings, term by term."""
    column = np.asarray(column)
    above_mean = [ratings[t] - mean - column[columns[t]] for t in np.flatnonzero(given)]
    above = sum(above_mean) / (len(above_mean) + shrinkage)
    base = mean + above + column[wanted]
    if not len(above_mean):
        return base
    own = part(weights, 'encoder')
    total = sum((e - above) * own['table'][c] + own['rated'][c]
                for e, c in zip(above_mean, columns[given]))
    code = np.tanh(total / np.sqrt(len(above_mean) + 1) + own['bias'])
    for k in range(len(own)):
        if f'hidden/{k}/kernel' in own:
            code = np.tanh(dense(code, part(own, f'hidden/{k}')))
    return base + weights['decoder'][wanted] @ code


# Labels that hang together

def labellings(length, num_classes):
    """All of them, int [K^n, n]."""
    return np.stack(np.meshgrid(*[range(num_classes)] * length, indexing='ij'), -1).reshape(
        [-1, length]) if length else np.zeros([1, 0], int)


def crf_score(x, labels, weights):
    if not len(labels):
        return 0.0
    return (weights['start'][labels[0]] + sum(x[t, k] for t, k in enumerate(labels))
            + sum(weights['transitions'][i, j] for i, j in zip(labels, labels[1:]))
            + weights['end'][labels[-1]])


def crf_scores(x, weights):
    """(all labellings, their scores, log of the sum of exp of these)."""
    every = labellings(*x.shape)
    scores = np.array([crf_score(x, labels, weights) for labels in every])
    return every, scores, np.logaddexp.reduce(scores)


def crf_nats(x, labels, weights):
    return crf_scores(x, weights)[2] - crf_score(x, labels, weights)


def crf_decode(x, weights):
    every, scores, _ = crf_scores(x, weights)
    return every[scores.argmax()], scores.max()


def crf_marginals(x, weights):
    every, scores, log_sum = crf_scores(x, weights)
    shares = np.exp(scores - log_sum) if log_sum > -np.inf else np.zeros(len(every))
    return np.array([[shares[every[:, t] == k].sum() for k in range(x.shape[1])]
                     for t in range(len(x))]).reshape(x.shape)


# Labels without steps

def collapse(alignment, blank):
    """Of equal neighbours all but one are dropped, then the blanks."""
    return tuple(k for t, k in enumerate(alignment)
                 if k != blank and (t == 0 or k != alignment[t - 1]))


_COLLAPSED = {}


def collapsed(length, num_classes, blank):
    """(all alignments, the number of the labels of each, all labels): made once."""
    key = length, num_classes, blank
    if key not in _COLLAPSED:
        every = labellings(length, num_classes)
        labels = [collapse(tuple(row), blank) for row in every.tolist()]
        different = sorted(set(labels))
        number = {row: k for k, row in enumerate(different)}
        _COLLAPSED[key] = every, np.array([number[row] for row in labels]), different
    return _COLLAPSED[key]


def ctc_table(x, blank=0):
    """Log probability of each labelling that has an alignment to x."""
    every, numbers, different = collapsed(*x.shape, blank)
    log_p = x - np.logaddexp.reduce(x, axis=1, keepdims=True)
    p = np.exp(log_p[np.arange(len(x)), every].sum(axis=1))
    return dict(zip(different, np.log(np.bincount(numbers, weights=p))))


def ctc(x, labels, blank=0):
    """Nats; None where there is no alignment."""
    log_p = ctc_table(x, blank).get(tuple(int(k) for k in labels))
    return None if log_p is None else -log_p


def ctc_best_path(x, blank=0):
    log_p = x - np.logaddexp.reduce(x, axis=1, keepdims=True)
    return collapse(tuple(x.argmax(axis=1).tolist()), blank), log_p.max(axis=1).sum()


def ctc_best_labels(x, blank=0):
    return max(ctc_table(x, blank).items(), key=lambda item: item[1])


def outputs_of(step, state, max_length, end, tokens=(), log_p=0.0):
    """Every output of a decoder, a tuple of labels -> its log probability.

    `step` is (the token before, state) -> (logits [K], state); an output of max_length labels ends
    by itself.
    """
    if len(tokens) == max_length:
        return {tokens: log_p}
    logits, state = step(tokens[-1] if tokens else end, state)
    nats = logits - np.logaddexp.reduce(logits)
    found = {tokens: log_p + nats[end]}
    for k in range(len(logits)):
        if k != end:
            found |= outputs_of(step, state, max_length, end, (*tokens, k), log_p + nats[k])
    return found


def greedy(step, state, max_length, end):
    """(labels, their log probability): the most likely label at each step."""
    tokens, log_p = (), 0.0
    while len(tokens) < max_length:
        logits, state = step(tokens[-1] if tokens else end, state)
        best = int(np.argmax(logits))
        log_p += logits[best] - np.logaddexp.reduce(logits)
        if best == end:
            break
        tokens = (*tokens, best)
    return tokens, log_p


def spans(tags):
    """(first step, step after the last, kind) of each span, tag by tag as conlleval reads them."""
    found, kind, first = [], None, None
    for t, tag in enumerate([*tags, 'O']):
        prefix, _, of = tag.partition('-')
        if kind is not None and (prefix in 'BO' or of != kind):
            found.append((first, t, kind))
            kind = None
        if prefix != 'O' and kind is None:
            kind, first = of, t
    return found


def edit_distance(first, second):
    best = np.arange(len(second) + 1)
    for i, a in enumerate(first):
        row = [i + 1]
        for j, b in enumerate(second):
            row.append(min(best[j] + (a != b), best[j + 1] + 1, row[j] + 1))
        best = np.array(row)
    return best[-1]
