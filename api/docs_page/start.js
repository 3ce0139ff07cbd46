// validatorUrl: null, or Swagger UI would show the document to another site.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#document", deepLinking: true, validatorUrl: null });
