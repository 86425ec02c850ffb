export interface HttpRequestHead {
  /** Upper case. */
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly query: URLSearchParams;
}

export interface HttpRequest extends HttpRequestHead {
  /** What the `:name` segments of the route matched, decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export interface HttpResponse {
  readonly status: number;
  readonly contentType: string;
  readonly body: string | Uint8Array;
}

export type HttpHandler = (request: HttpRequest) => HttpResponse | Promise<HttpResponse>;

export interface HttpRouteOptions {
  /** Served without asking `authorize`. */
  readonly open?: boolean;
}
