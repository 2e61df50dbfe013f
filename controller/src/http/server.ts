import type { Logger } from '@codex-remote/platform';
import { recordsContentType } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { z } from 'zod';
import { execRights } from '../access/scopes.ts';
import { unauthorized } from '../access/unauthorized.ts';
import { downloadOf } from '../enrolment/downloads.ts';
import { authorize } from './authorize.ts';
import { type Caller, callerOf, closedDoor, type Door, refuseBrowsers } from './callers.ts';
import type { ApiContext } from './context.ts';
import { RecordResponse } from './record-response.ts';
import { RefusedCallers } from './refused-callers.ts';
import { type RecordsHandler, type Route, routes } from './routes.ts';

/** Largest JSON body of a request; record bodies have no limit here, their parts do. */
const maxJsonBytes = 1024 * 1024;
/** Request line and headers: a wait for 1000 execs names each. */
const maxHeaderBytes = 128 * 1024;

/**
 * The HTTP API. Every answer to a caller that is known carries `x-codex-remote-build`, so that a newer CLI knows an older
 * controller. A connection that `arrivedLocally` did not name is of the network, and goes through the `door`.
 */
export function createApi(
  context: ApiContext,
  build: string,
  log: Logger,
  door: Door = closedDoor,
): FastifyInstance {
  const app = fastify({
    bodyLimit: maxJsonBytes,
    forceCloseConnections: true,
    return503OnClosing: false,
    http: { maxHeaderSize: maxHeaderBytes },
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: maxHeaderBytes },
    // What fastify refuses before there is a route: a URL that cannot be decoded.
    frameworkErrors: (error, _request, reply) => sendError(reply, error, log),
  });
  app.removeContentTypeParser('text/plain');
  app.addContentTypeParser(recordsContentType, (_request, payload, done) => done(null, payload));
  const refused = new RefusedCallers(context.audit, context.clock);
  const callers = new WeakMap<FastifyRequest, Caller>();
  app.addHook('onRequest', async (request, reply) => {
    const asked = request.method === 'GET' ? downloadOf(request.url) : undefined;
    if (!asked) return;
    refuseBrowsers(request.headers);
    reply.hijack();
    await context.downloads.serve(asked.tokenId, asked.name, reply.raw);
  });
  // Before anything is read of the body, also where there is no such route.
  app.addHook('onRequest', async (request, reply) => {
    try {
      callers.set(request, callerOf(request.raw, door));
    } catch (error) {
      // Who is not let in keeps no connection.
      reply.raw.setHeader('connection', 'close');
      throw error;
    }
    reply.raw.setHeader('x-codex-remote-build', build);
  });
  app.setErrorHandler((error, _request, reply) => sendError(reply, error, log));
  app.setNotFoundHandler((request, reply) =>
    sendError(
      reply,
      new RemoteError(
        'unknown_verb',
        `${request.method} ${request.url.slice(0, 100)} is not part of the API`,
      ),
      log,
    ),
  );
  for (const route of routes)
    app.route({
      method: route.method,
      url: route.url,
      handler: (request, reply) => run(route, context, callers.get(request), request, reply, refused, log),
    });
  return app;
}

async function run(
  route: Route,
  all: ApiContext,
  caller: Caller | undefined,
  request: FastifyRequest,
  reply: FastifyReply,
  refused: RefusedCallers,
  log: Logger,
): Promise<unknown> {
  if (!caller) throw unauthorized();
  try {
    authorize(route, caller.principal, request, () => all.machines.names());
  } catch (error) {
    await refused.note(caller, route, asRemoteError(error));
    throw error;
  }
  // What the caller may not see is not there for any handler.
  const rights = execRights(caller.principal);
  const context = rights ? { ...all, execs: all.execs.within(rights) } : all;
  // The caller going away ends its request: close comes before finish only then.
  const gone = new AbortController();
  reply.raw.on('close', () => {
    if (!reply.raw.writableFinished) gone.abort();
  });
  const call = {
    ...caller,
    params: request.params,
    query: request.query,
    body: request.body,
    signal: gone.signal,
  };
  const records = recordsHandler(route, request);
  if (!records) return route.kind === 'json' ? route.handle(context, call) : undefined;
  reply.hijack();
  const response = new RecordResponse(reply.raw);
  try {
    await records(context, call, response);
  } catch (error) {
    const failure = asRemoteError(error);
    logDefect(failure, log);
    await response.event({ error: failure.toWire() }).catch(() => undefined);
  }
  response.end();
  return reply;
}

function recordsHandler(route: Route, request: FastifyRequest): RecordsHandler | undefined {
  if (route.kind === 'records') return route.handle;
  const query = z.looseObject({ follow: z.string().optional() }).parse(request.query);
  return query.follow === '1' ? route.follow : undefined;
}

function sendError(reply: FastifyReply, error: unknown, log: Logger): FastifyReply {
  const failure = asRemoteError(error);
  logDefect(failure, log);
  return reply.code(failure.kind.http).send({ error: failure.toWire() });
}

function asRemoteError(error: unknown): RemoteError {
  if (error instanceof z.ZodError) {
    const [issue] = error.issues;
    return new RemoteError(
      'usage',
      `the request is not valid: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim(),
      {},
      error,
    );
  }
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined;
  if (typeof status === 'number' && status >= 400 && status < 500) {
    return new RemoteError(status === 413 ? 'too_large' : 'usage', (error as Error).message, {}, error);
  }
  return RemoteError.from(error);
}

function logDefect(failure: RemoteError, log: Logger): void {
  if (failure.code === 'internal')
    log.error({ err: failure.message, stack: failure.stack, cause: String(failure.cause) }, 'defect');
}
