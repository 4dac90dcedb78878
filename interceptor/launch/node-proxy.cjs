// Makes Node follow the proxy variables where it does not do so by itself: loaded before a program
// by `interceptor run -- COMMAND`, through NODE_OPTIONS. Versions that know NODE_USE_ENV_PROXY are
// left alone.
//
// Every connection becomes a CONNECT tunnel, also those for plain HTTP: the tunnel is made where a
// connection is, below fetch() and the default agents of `http` and `https`. Agents that a program
// brings along are its own affair.
'use strict';

const proxy = process.env.HTTPS_PROXY || process.env.https_proxy;

if (proxy && !process.allowedNodeEnvironmentFlags.has('--use-env-proxy')) {
  try {
    install(new URL(proxy));
  } catch (error) {
    process.emitWarning(`requests are not sent through ${proxy}: ${error.message}`);
  }
}

function install(where) {
  const http = require('http');
  const https = require('https');
  const net = require('net');
  const proxyHost = where.hostname.replace(/^\[|\]$/g, '');
  const proxyPort = Number(where.port || 80);

  // Calls back with a socket whose peer is host:port.
  function tunnel(host, port, callback) {
    const named = net.isIPv6(host) ? `[${host}]` : host;
    const authority = `${named}:${port}`;
    const request = http.request({
      host: proxyHost,
      port: proxyPort,
      method: 'CONNECT',
      path: authority,
      headers: { Host: authority },
      agent: false,
    });
    request.once('connect', (response, socket, head) => {
      if (response.statusCode < 200 || response.statusCode > 299) {
        socket.destroy();
        callback(new Error(`the proxy answered ${response.statusCode} to CONNECT ${authority}`));
        return;
      }
      if (head.length > 0) socket.unshift(head);
      callback(null, socket);
    });
    request.once('error', callback);
    request.end();
  }

  function secure(socket, options) {
    const host = options.servername || options.host || options.hostname;
    return require('tls').connect({
      ...options,
      socket,
      servername: net.isIP(host) ? '' : host,
    });
  }

  function reroute(agent, defaultPort, wrap) {
    const direct = agent.createConnection;
    agent.createConnection = function createConnection(options, callback) {
      if (options.socketPath || options.createConnection || options.socket) {
        return direct.call(this, options, callback);
      }
      tunnel(options.host || 'localhost', options.port || defaultPort, (error, socket) => {
        if (error) callback(error);
        else callback(null, wrap(socket, options));
      });
      return undefined;
    };
  }

  reroute(http.globalAgent, 80, (socket) => socket);
  reroute(https.globalAgent, 443, secure);

  // fetch() makes its connections through a dispatcher that it shares with the package undici. It
  // is made when fetch is first looked at, which takes a while: not before the program does.
  const key = Symbol.for('undici.globalDispatcher.1');
  const described = Object.getOwnPropertyDescriptor(globalThis, 'fetch');
  if (!described) return;

  function connect(options, callback) {
    const tls = options.protocol === 'https:';
    const port = options.port || (tls ? 443 : 80);
    const host = options.hostname.replace(/^\[|\]$/g, '');
    tunnel(host, port, (error, socket) => {
      if (error) {
        callback(error, null);
        return;
      }
      if (!tls) {
        callback(null, socket);
        return;
      }
      const secured = secure(socket, {
        host,
        servername: options.servername,
        ALPNProtocols: ['http/1.1'],
      });
      secured.once('secureConnect', () => {
        secured.removeListener('error', callback);
        callback(null, secured);
      });
      secured.once('error', callback);
    });
  }

  let loaded = false;
  function load() {
    const original = described.get ? described.get.call(globalThis) : described.value;
    if (!loaded) {
      loaded = true;
      // The first look at a class of undici's is what makes the dispatcher.
      void globalThis.Headers;
      const current = globalThis[key];
      // One of another kind was put there by the program, to some end of its own.
      if (current && current.constructor.name === 'Agent') {
        globalThis[key] = new current.constructor({ connect });
      }
    }
    return original;
  }

  Object.defineProperty(globalThis, 'fetch', {
    configurable: true,
    enumerable: described.enumerable,
    get: load,
    set(value) {
      Object.defineProperty(globalThis, 'fetch', {
        configurable: true, enumerable: true, writable: true, value,
      });
    },
  });
}
