"""An application on Werkzeug's routing, without Flask, with a Flask application mounted in it: WSGI by hand."""

import logging
import sys

from flask_app import app as flask_app
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.routing import Map, Rule
from werkzeug.serving import run_simple
from werkzeug.wrappers import Request, Response

urls = Map([Rule("/w/<int:b>", endpoint="w"), Rule("/caught", endpoint="caught")])


@Request.application
def application(request):
    try:
        endpoint, values = urls.bind_to_environ(request.environ).match()
        if endpoint == "caught":
            raise ValueError("x")
    except HTTPException as e:
        return e
    except ValueError:
        logging.exception("caught")
        return Response("sorry", 500)
    return Response(str(values))


if __name__ == "__main__":
    served = DispatcherMiddleware(application, {"/in": flask_app})
    run_simple("127.0.0.1", int(sys.argv[1]), served, threaded=True)
